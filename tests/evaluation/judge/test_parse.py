"""Answers of judges, well-formed and not."""

import pytest

from anchoredit_jax.evaluation.judge.parse import (
    Answer,
    MalformedAnswer,
    parse_answer,
)

PLAIN = '{"reason": "fine", "instruction": 7, "consistency": 4}'


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"```json\n{PLAIN}\n```",
        f"Here is my rating:\n{PLAIN}\nI hope it helps {{or not}}.",
        f"{PLAIN}\n{PLAIN}",
        '{"scores": {"reason": "fine", "instruction": 7, "consistency": 4}}',
        '{"reason": "fine", "instruction": 7.0, "consistency": "4"}',
        '<think>{"instruction": 1, "consistency": 1}</think>' + PLAIN,
        '{"instruction": 1, "consistency": 1}</think>' + PLAIN,
        '<reasoning>{"instruction": 1, "consistency": 1}</reasoning>' + PLAIN,
    ],
)
def test_answers_that_mean_one_thing_are_read(text):
    assert parse_answer(text) == Answer(7, 4, "fine")


def test_scores_without_a_reason_count():
    assert parse_answer('{"instruction": 0, "consistency": 10}') == Answer(0, 10, "")


def test_a_reason_that_is_no_text_is_kept_as_json():
    text = '{"instruction": 1, "consistency": 2, "reason": ["a", "b"]}'
    assert parse_answer(text).reason == '["a", "b"]'


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "empty"),
        (f"<think>a draft: {PLAIN}", "reasoning has no end"),
        (f"<think>a</think><thinking>{PLAIN}", "reasoning has no end"),
        (f"{PLAIN} <reasoning> or rather", "reasoning has no end"),
        ("  \n", "empty"),
        ("Both are 7.", "no complete JSON object"),
        (PLAIN[:-1], "no complete JSON object"),
        ("{'instruction': 7, 'consistency': 4}", "no complete JSON object"),
        ('{"instruction": 7}', "lacked consistency"),
        ('{"score": 7}', "lacked instruction and consistency"),
        ('{"instruction": 7} {"consistency": 4}', "lacked instruction and consistency"),
        ('{"instruction": 11, "consistency": 4}', '"instruction" was 11'),
        ('{"instruction": -1, "consistency": 4}', '"instruction" was -1'),
        ('{"instruction": 7, "consistency": 4.5}', '"consistency" was 4.5'),
        ('{"instruction": 7, "consistency": "4/10"}', '"consistency" was "4/10"'),
        ('{"instruction": 7, "consistency": "high"}', '"consistency" was "high"'),
        ('{"instruction": 7, "consistency": null}', '"consistency" was null'),
        ('{"instruction": true, "consistency": 4}', '"instruction" was true'),
        ('{"instruction": NaN, "consistency": 4}', '"instruction" was NaN'),
        ('{"instruction": 1e999, "consistency": 4}', '"instruction" was Infinity'),
        ('{"instruction": ' + "9" * 5000 + ', "consistency": 4}', "no complete JSON"),
        (f'{PLAIN} {{"instruction": 3, "consistency": 4}}', "several JSON objects"),
    ],
)
def test_other_answers_are_refused_with_the_reason(text, why):
    with pytest.raises(MalformedAnswer, match=why):
        parse_answer(text)
