"""Whole runs: scores, answers that cannot be read, stops, and what a resume costs."""

import collections
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge import Usage, judge_sessions

GOOD = '{"reason": "as asked", "instruction": 8, "consistency": 9}'
SOON = (("Retry-After", "0.01"),)
BAD = "Both are 7."


def by_edit(judge, scores):
    """Let the judge's scores depend on the instruction."""

    def reply(number, body):
        task = body["messages"][0]["content"][0]["text"]
        edit = task.split("This turn's instruction: \"edit ")[1].split('"')[0]
        return scores[edit]

    judge.reply = reply


def test_every_turn_gets_its_scores(judge, config, replies, make_sessions, cache):
    def good(instruction, consistency):
        numbers = f'"instruction": {instruction}, "consistency": {consistency}'
        return replies(f'{{"reason": "r{instruction}", {numbers}}}')

    by_edit(judge, {"0.1": good(1, 2), "0.2": good(3, 4), "1.1": good(5, 6)})
    seen = []
    found = judge_sessions(
        dataclasses.replace(config, parallel=3),
        make_sessions(2, 1),
        cache,
        lambda name, turn, verdict: seen.append((name, turn, verdict.instruction)),
    )
    assert list(found.scores) == ["s0", "s1"]
    np.testing.assert_array_equal(found.scores["s0"].instruction, [1, 3])
    np.testing.assert_array_equal(found.scores["s0"].consistency, [2, 4])
    assert found.scores["s0"].reasons == ("r1", "r3")
    assert found.scores["s1"].instruction.dtype == np.float64
    assert sorted(seen) == [("s0", 1, 1), ("s0", 2, 3), ("s1", 1, 5)]
    assert (found.asked, found.reused, found.unjudged) == (3, 0, 0)
    assert found.usage == found.total_usage == Usage(300, 30)


def test_the_request_shows_the_images_between_their_labels(
    judge, config, make_sessions, cache
):
    judge_sessions(config, make_sessions(2), cache)
    assert [len(judge.images(number)) for number in range(2)] == [2, 3]
    task, source, before, after, form = judge.texts(1)
    assert '1. "edit 0.1"' in task and 'instruction: "edit 0.2"' in task
    assert [source, before, after] == [
        "The source image:",
        "The image before this turn:",
        "The image after this turn:",
    ]
    assert "JSON" in form


def test_an_unreadable_answer_is_asked_again_with_what_was_wrong(
    judge, config, replies, make_sessions, cache
):
    judge.script(replies(BAD), replies('{"instruction": 12}'))
    found = judge_sessions(config, make_sessions(1), cache)
    assert found.unjudged == 0 and found.scores["s0"].instruction[0] == 8
    first, second, third = (judge.texts(number) for number in range(3))
    assert len(first) == 4 and first == second[:-1] == third[:-1]
    assert "it held no complete JSON object. Give" in second[-1]
    assert "its JSON object lacked consistency. Give" in third[-1]
    assert found.usage == found.total_usage == Usage(300, 30)


def test_a_turn_without_a_readable_answer_is_unjudged_and_the_run_goes_on(
    judge, config, replies, make_sessions, cache
):
    judge.script(*[replies(BAD)] * 3)
    found = judge_sessions(config, make_sessions(2), cache)
    np.testing.assert_array_equal(found.scores["s0"].instruction, [np.nan, 8])
    np.testing.assert_array_equal(found.scores["s0"].consistency, [np.nan, 9])
    reason = "no readable answer in 3 tries; the last one: it held no complete"
    assert found.scores["s0"].reasons[0].startswith(reason)
    assert found.unjudged == 1
    assert len(judge.requests) == 4


@pytest.mark.parametrize("text", ["", "<think>so " + GOOD, GOOD])
def test_an_answer_that_is_cut_off_counts_for_nothing_and_is_paid_for_once(
    judge, config, replies, make_sessions, cache, text
):
    judge.reply = lambda *_: replies(text, finish="length")
    found = judge_sessions(config, make_sessions(2), cache)
    assert (found.unjudged, len(judge.requests)) == (2, 2)
    (why,) = found.why
    assert found.why[why] == 2 and "the 4096 tokens of an answer were used up" in why
    again = judge_sessions(config, make_sessions(2), cache)
    assert (again.unjudged, again.reused, again.why) == (2, 2, found.why)
    assert len(judge.requests) == 2
    judge.reply = lambda *_: replies()
    for limit in (8192, None):  # each asks anew what was cut off
        more = dataclasses.replace(config, max_tokens=limit)
        assert judge_sessions(more, make_sessions(2), cache).unjudged == 0
    assert len(judge.requests) == 4


def test_a_refused_turn_is_paid_for_once_and_told(
    judge, config, replies, make_sessions, cache
):
    body = '{"choices": [{"message": {"content": null, "refusal": "I will not"}}]}'
    judge.reply = lambda *_: replies(body=body)
    for _ in range(2):
        found = judge_sessions(config, make_sessions(1), cache)
        assert found.why == {"refused: I will not": 1}
    assert len(judge.requests) == 1


def test_a_failure_that_a_former_version_kept_is_asked_again(
    judge, config, make_sessions, cache
):
    judge_sessions(config, make_sessions(1), cache)
    record = json.loads(cache.read_text())
    for name in ("check", "cut_at", "refused"):
        del record[name]
    record |= {"instruction": None, "consistency": None, "answers": 3}
    record["reason"] = "no readable answer in 3 tries; the last one: it was cut off"
    cache.write_text(json.dumps(record) + "\n")
    found = judge_sessions(config, make_sessions(1), cache)
    assert found.unjudged == 0 and len(judge.requests) == 2


def test_a_turn_that_a_content_filter_refuses_is_unjudged_and_the_run_goes_on(
    judge, config, replies, make_sessions, cache
):
    body = '{"error": {"message": "not that image", "code": "content_filter"}}'
    judge.script(replies(status=400, body=body))
    found = judge_sessions(config, make_sessions(2), cache)
    np.testing.assert_array_equal(found.scores["s0"].instruction, [np.nan, 8])
    assert "not that image" in found.scores["s0"].reasons[0]
    assert found.unjudged == 1 and len(judge.requests) == 2


def test_an_unjudged_turn_is_paid_for_again_only_with_more_tries(
    judge, config, replies, make_sessions, cache
):
    judge.script(*[replies(BAD)] * 3)
    judge_sessions(config, make_sessions(1), cache)
    again = judge_sessions(config, make_sessions(1), cache)
    assert (again.unjudged, again.reused, len(judge.requests)) == (1, 1, 3)
    more = dataclasses.replace(config, answers=4)
    found = judge_sessions(more, make_sessions(1), cache)
    assert (found.unjudged, len(judge.requests)) == (0, 4)
    assert found.usage == Usage(100, 10) and found.total_usage == Usage(400, 40)


def test_what_is_known_is_not_asked_again(judge, config, make_sessions, cache):
    first = judge_sessions(config, make_sessions(3), cache)
    seen = []
    again = judge_sessions(
        config, make_sessions(3, 1), cache, lambda *turn: seen.append(turn[:2])
    )
    assert len(judge.requests) == 4
    assert (again.asked, again.reused) == (1, 3)
    assert again.usage == Usage(100, 10) and again.total_usage == Usage(400, 40)
    assert seen == [("s0", 1), ("s0", 2), ("s0", 3), ("s1", 1)]
    assert again.scores["s0"].reasons == first.scores["s0"].reasons


def test_turns_in_flight_at_once_with_one_question_are_paid_for_once(
    judge, config, replies, make_sessions, cache
):
    hold = threading.Event()
    judge.reply = lambda *_: replies(hold=hold)

    def twins():
        for name, frames, instructions in make_sessions(1):
            yield name, frames, instructions
            judge.arrived.acquire(timeout=10)
            yield "twin", frames, instructions
            hold.set()

    found = judge_sessions(dataclasses.replace(config, parallel=2), twins(), cache)
    assert len(judge.requests) == 1
    assert (found.asked, found.reused) == (1, 1)
    assert found.scores["twin"].instruction[0] == 8


def test_one_turn_without_an_answer_is_unjudged_and_asked_by_the_next_run(
    judge, config, replies, make_sessions, cache
):
    config = dataclasses.replace(config, retries=0)
    judge.script(replies(status=500))
    found = judge_sessions(config, make_sessions(2), cache)
    assert np.isnan(found.scores["s0"].instruction).tolist() == [True, False]
    assert found.scores["s0"].reasons[0].startswith("no answer: Error code: 500")
    assert found.unjudged == 1
    again = judge_sessions(config, make_sessions(2), cache)
    assert (again.unjudged, again.asked, len(judge.requests)) == (0, 1, 3)


def test_answers_paid_for_before_the_endpoint_failed_are_counted(
    judge, config, replies, make_sessions, cache
):
    config = dataclasses.replace(config, retries=0)
    judge.script(replies(BAD), replies(status=500))
    found = judge_sessions(config, make_sessions(1), cache)
    assert found.unjudged == 1 and found.total_usage == Usage(100, 10)
    again = judge_sessions(config, make_sessions(1), cache)
    assert again.unjudged == 0 and again.total_usage == Usage(200, 20)


@pytest.mark.parametrize("parallel", [1, 2])
def test_an_endpoint_that_is_down_ends_the_run_and_the_next_goes_on(
    judge, config, replies, make_sessions, cache, parallel
):
    config = dataclasses.replace(config, retries=1, parallel=parallel)
    judge.reply = lambda number, _: (
        replies() if number < 3 else replies(status=429, headers=SOON)
    )
    with pytest.raises(UserError, match="in a row unanswered.*429.*run again"):
        judge_sessions(config, make_sessions(20), cache)
    assert len(judge.requests) < 3 + 2 * 17  # not every turn was tried
    judge.reply = lambda *_: replies()
    done = judge_sessions(config, make_sessions(20), cache)
    assert (done.reused, done.asked, done.unjudged) == (3, 17, 0)


def test_single_failures_between_answers_do_not_end_a_run(
    judge, config, replies, make_sessions, cache
):
    config = dataclasses.replace(config, retries=0)
    judge.reply = lambda number, _: replies(status=500 if number % 2 else 200)
    assert judge_sessions(config, make_sessions(8), cache).unjudged == 4


def test_a_refusal_ends_the_run_at_once_and_keeps_what_was_paid_for(
    judge, config, replies, make_sessions, cache
):
    hold = threading.Event()

    def reply(number, body):
        if number == 2:
            hold.set()
            return replies(status=401)
        return replies(hold=hold if number == 3 else None)

    judge.reply = reply
    config = dataclasses.replace(config, parallel=2)
    with pytest.raises(UserError, match="check the key"):
        judge_sessions(config, make_sessions(20), cache)
    # The other worker's turn, and one more if that was done before the refusal.
    assert len(judge.requests) <= 5
    judge.reply = lambda *_: replies()
    done = judge_sessions(config, make_sessions(20), cache)
    assert done.unjudged == 0
    assert len(judge.requests) == 20 + 1  # all once, and the refused one


def test_a_run_stopped_in_the_middle_pays_for_nothing_twice(
    judge, config, make_sessions, cache
):
    config = dataclasses.replace(config, parallel=3)

    def interrupt(name, turn, verdict):
        if len(judge.requests) >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge_sessions(config, make_sessions(6, 6), cache, interrupt)
    assert 5 <= len(judge.requests) < 12
    found = judge_sessions(config, make_sessions(6, 6), cache)
    assert found.unjudged == 0 and found.total_usage == Usage(1200, 120)
    tasks = collections.Counter(judge.texts(number)[0] for number in range(12))
    assert len(judge.requests) == 12 and set(tasks.values()) == {1}


KILLED = """
import numpy as np, pathlib, sys
from anchoredit_jax.evaluation.judge import JudgeConfig, judge_sessions

frames = np.random.default_rng(0).integers(0, 256, (9, 8, 6, 3), np.uint8)
config = JudgeConfig("tiny-vlm", sys.argv[1], parallel=2)
texts = [f"edit 0.{turn}" for turn in range(1, 9)]
judge_sessions(config, [("s0", frames, texts)], pathlib.Path(sys.argv[2]))
"""


def test_a_killed_run_loses_only_what_was_in_flight(
    judge, config, replies, make_sessions, cache
):
    hold = threading.Event()
    judge.reply = lambda number, _: replies(hold=hold if number >= 4 else None)
    command = [sys.executable, "-c", KILLED, judge.url, str(cache)]
    with subprocess.Popen(command, env={**os.environ, "JAX_PLATFORMS": "cpu"}) as run:
        arrived = all(judge.arrived.acquire(timeout=60) for _ in range(6))
        run.send_signal(signal.SIGKILL)
    hold.set()
    assert arrived
    with cache.open("ab") as file:
        file.write(b'{"key": "0123')  # as if killed while it wrote
    judge.reply = lambda *_: replies()
    found = judge_sessions(config, make_sessions(8), cache)
    assert (found.reused, found.asked, found.unjudged) == (4, 4, 0)
    assert len(judge.requests) == 10


def test_the_key_is_not_in_the_file(judge, config, replies, make_sessions, cache):
    body = '{"error": {"message": "key sk-test-0123456789 is slow"}}'
    judge.script(replies(BAD), replies(status=500, body=body))
    config = dataclasses.replace(config, retries=0)
    judge_sessions(config, make_sessions(2), cache)
    text = cache.read_text()
    assert "(key) is slow" in text and "sk-test" not in text
    assert "sk-test" not in repr(config)


def test_two_sessions_of_one_name_are_refused(judge, config, make_sessions, cache):
    twice = [*make_sessions(1), *make_sessions(1)]
    with pytest.raises(UserError, match="two sessions are named 's0'"):
        judge_sessions(config, twice, cache)


def test_sessions_are_read_only_as_they_are_needed(judge, config, make_sessions, cache):
    read = []

    def watched():
        for session in make_sessions(*[1] * 6):
            read.append(len(judge.requests))
            yield session

    judge_sessions(config, watched(), cache)
    assert read[-1] >= 4  # one in flight, one to come
