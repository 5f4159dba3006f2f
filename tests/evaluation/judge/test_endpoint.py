"""The endpoint's failures: what is tried again, what ends a run, what is said."""

import dataclasses
import json
import re
import sys
import threading
import traceback

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge import JudgeConfig, Usage
from anchoredit_jax.evaluation.judge.endpoint import NoAnswer, open_endpoint

SOON = (("Retry-After", "0.01"),)
CONTENT = [{"type": "text", "text": "hello"}]


def ask_once(config):
    with open_endpoint(config) as ask:
        return ask(CONTENT)


def test_the_request_and_the_answer(judge, config):
    completion = ask_once(config)
    assert '"instruction": 8' in completion.text and not completion.cut_off
    assert completion.usage == Usage(100, 10)
    assert judge.requests == [
        {
            "model": "tiny-vlm",
            "messages": [{"role": "user", "content": CONTENT}],
            "max_tokens": 4096,
            "temperature": 0.0,
            "seed": 0,
        }
    ]
    assert judge.authorizations == ["Bearer sk-test-0123456789"]


def test_options_that_are_none_are_left_out(judge, config):
    ask_once(dataclasses.replace(config, max_tokens=None, temperature=None, seed=None))
    assert set(judge.requests[0]) == {"model", "messages"}


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
def test_passing_failures_are_tried_again(judge, config, replies, status):
    judge.script(*[replies(status=status, headers=SOON)] * 2)
    assert ask_once(config).text
    assert len(judge.requests) == 3


def test_the_wait_is_the_one_that_the_endpoint_asks_for(
    judge, config, replies, monkeypatch
):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    judge.script(replies(status=429, headers=(("Retry-After", "7"),)))
    ask_once(config)
    assert 7.0 in waits


def test_a_dropped_connection_is_tried_again(judge, config, replies):
    judge.script(replies(drop=True))
    assert ask_once(config).text
    assert len(judge.requests) == 2


def test_a_slow_reply_is_given_up_and_asked_again(judge, config, replies):
    hold = threading.Event()
    judge.script(replies(hold=hold))
    assert ask_once(dataclasses.replace(config, timeout=0.3)).text
    hold.set()
    assert len(judge.requests) == 2


def test_failures_without_end_are_no_answer(judge, config, replies):
    judge.reply = lambda *_: replies(status=429, headers=SOON)
    with pytest.raises(NoAnswer, match="429.*scripted"):
        ask_once(config)
    assert len(judge.requests) == 1 + config.retries


def test_nobody_at_the_address_is_no_answer(config):
    with pytest.raises(NoAnswer, match="Connection"):
        ask_once(
            dataclasses.replace(config, base_url="http://127.0.0.1:9/v1", retries=0)
        )


@pytest.mark.parametrize(
    "status, advice",
    [
        (400, "'tiny-vlm' takes images.*temperature"),
        (401, "check the key in the environment variable OPENAI_API_KEY"),
        (403, "check the key"),
        (404, "base_url.*'tiny-vlm'"),
        (413, "image_side is 768"),
        (422, "temperature"),
    ],
)
def test_a_refusal_ends_at_once_with_advice(judge, config, replies, status, advice):
    judge.script(replies(status=status))
    with pytest.raises(UserError, match=f"refused.*{status}.*scripted.*{advice}"):
        ask_once(config)
    assert len(judge.requests) == 1


REFUSALS = {
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model"
    ". Use 'max_completion_tokens' instead.",
    "max_completion_tokens": "Extra inputs are not permitted: max_completion_tokens",
    "temperature": "Unsupported value: 'temperature' does not support 0",
    "seed": "Unrecognized request argument supplied: seed",
}


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "refused", [["temperature"], ["max_tokens"], ["seed", "temperature"], [*REFUSALS]]
)
def test_what_an_endpoint_refuses_by_name_is_left_out_or_renamed(
    judge, config, replies, caplog, status, refused
):
    def reply(number, body):
        for name in refused:
            if name in body:
                error = json.dumps({"error": {"message": REFUSALS[name]}})
                return replies(status=status, body=error)
        return replies()

    judge.reply = reply
    with open_endpoint(config) as ask:
        assert ask(CONTENT).text and ask(CONTENT).text
    sent = judge.requests[-1]
    assert sent == judge.requests[-2] and not set(refused) & set(sent)
    assert len(judge.requests) == len(refused) + 2  # found out once
    if refused == ["max_tokens"]:
        assert sent["max_completion_tokens"] == 4096
    for name in refused:
        assert f"does not take {name}" in caplog.text


def test_a_model_that_refuses_says_so(judge, config, replies):
    body = '{"choices": [{"message": {"content": null, "refusal": "I will not"}}]}'
    judge.script(replies(body=body), replies(finish="content_filter"))
    assert ask_once(config).refusal == "I will not"
    assert ask_once(config).refusal == "a filter stopped the answer"


@pytest.mark.parametrize(
    "body",
    [
        "<html>welcome</html>",
        '{"choices": [{"mess',
        '{"error": {"message": "overloaded"}}',
        '{"choices": []}',
        '{"choices": null}',
        '{"choices": [{}]}',
        "[]",
        "null",
    ],
)
def test_a_reply_that_is_no_completion_is_no_answer(judge, config, replies, body):
    judge.script(replies(body=body))
    with pytest.raises(NoAnswer, match=f"no chat completion: '{re.escape(body)}"):
        ask_once(config)


@pytest.mark.parametrize("text", [None, "", ["a list"]])
def test_a_model_that_says_nothing_is_paid_for(judge, config, replies, text):
    judge.script(replies(text=text, finish="length"))
    completion = ask_once(config)
    assert (completion.text, completion.cut_off) == ("", True)
    assert completion.usage == Usage(100, 10)


@pytest.mark.parametrize("usage", ["null", "[]", '{"prompt_tokens": null}'])
def test_an_endpoint_that_does_not_count_tokens(judge, config, replies, usage):
    choices = '[{"message": {"content": "x"}}]'
    judge.script(replies(body=f'{{"choices": {choices}, "usage": {usage}}}'))
    assert ask_once(config).usage == Usage(0, 0)


@pytest.mark.parametrize("status", [401, 500])
def test_a_key_that_the_endpoint_repeats_is_not_shown(judge, config, replies, status):
    body = '{"error": {"message": "bad key sk-test-0123456789"}}'
    judge.script(replies(status=status, body=body))
    with pytest.raises((UserError, NoAnswer), match=r"bad key \(key\)") as caught:
        ask_once(dataclasses.replace(config, retries=0))
    shown = "".join(traceback.format_exception(caught.value))
    assert "sk-test" not in shown


def test_no_key_is_said_before_anything_is_sent(judge, config, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="set the environment variable OPENAI_API_KEY"):
        ask_once(config)
    assert not judge.requests


def test_a_key_with_odd_characters_is_refused_unseen(config, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u201csecret\u201d")
    with pytest.raises(UserError, match="holds characters") as caught:
        ask_once(config)
    assert "secret" not in str(caught.value)


def test_another_variable_or_none_may_hold_the_key(judge, config, monkeypatch):
    monkeypatch.setenv("OTHER", "sk-other-0123\n")
    ask_once(dataclasses.replace(config, api_key_env="OTHER"))
    monkeypatch.delenv("OPENAI_API_KEY")
    ask_once(dataclasses.replace(config, api_key_env=""))
    first, second = judge.authorizations
    assert first == "Bearer sk-other-0123" and "sk-" not in second


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(UserError, match=r"pip install 'anchoredit_jax\[judge\]'"):
        ask_once(JudgeConfig("m"))
