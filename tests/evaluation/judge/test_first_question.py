"""A judge that cannot judge is told before anything is edited."""

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.runs import check_judge


def test_an_answer_is_enough_and_is_paid_for_once(judge, config, tmp_path):
    for _ in range(2):
        check_judge(config, tmp_path)
    assert len(judge.requests) == 1


def test_one_that_uses_up_its_tokens_is_told(judge, config, replies, tmp_path):
    judge.reply = lambda *_: replies("<think>so", finish="length")
    with pytest.raises(UserError, match="nothing was edited: cut off.*4096 tokens"):
        check_judge(config, tmp_path)


def test_a_refusal_of_grey_pictures_is_no_reason_to_stop(
    judge, config, replies, tmp_path, caplog
):
    body = '{"choices": [{"message": {"content": null, "refusal": "I will not"}}]}'
    judge.reply = lambda *_: replies(body=body)
    check_judge(config, tmp_path)
    assert "does not count: refused: I will not" in caplog.text
