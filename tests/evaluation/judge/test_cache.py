"""The file of verdicts."""

import json
import random

import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge import Usage, Verdict
from anchoredit_jax.evaluation.judge.cache import VerdictCache
from anchoredit_jax.evaluation.judge.question import session_questions

VERDICT = Verdict(8, 9, "ends with }", 2, Usage(100, 10))
UNJUDGED = Verdict(None, None, "no readable answer", 3, Usage(300, 30))


@pytest.fixture
def question():
    (question,) = session_questions("s", np.zeros((2, 4, 4, 3), np.uint8), ["x"])
    return question


@pytest.fixture
def filled(cache, question):
    with VerdictCache(cache) as verdicts:
        verdicts.record("a", question, VERDICT)
        verdicts.record("b", question, UNJUDGED)
    return cache


def test_verdicts_come_back_and_their_usage_is_summed(filled):
    with VerdictCache(filled) as verdicts:
        assert verdicts.get("a") == VERDICT and verdicts.get("b") == UNJUDGED
        assert verdicts.get("c") is None
        assert verdicts.usage == Usage(400, 40)


def test_a_record_is_on_the_disk_at_once_and_names_its_turn(cache, question):
    with VerdictCache(cache) as verdicts:
        verdicts.record("a", question, VERDICT)
        (row,) = map(json.loads, cache.read_text().splitlines())
    assert (row["session"], row["turn"], row["instruction"]) == ("s", 1, 8)


def test_the_later_verdict_of_a_question_counts(filled, question):
    with VerdictCache(filled) as verdicts:
        verdicts.record("b", question, VERDICT)
    with VerdictCache(filled) as verdicts:
        assert verdicts.get("b") == VERDICT
        assert verdicts.usage == Usage(500, 50)


def test_a_last_line_cut_anywhere_is_dropped_and_writing_goes_on(filled, question):
    data = filled.read_bytes()
    start = data.index(b"\n") + 1
    for end in range(start, len(data) - 1):
        filled.write_bytes(data[:end])
        with VerdictCache(filled) as verdicts:
            assert verdicts.get("a") == VERDICT and verdicts.get("b") is None
            verdicts.record("b", question, UNJUDGED)
        assert filled.read_bytes() == data


def test_a_whole_last_line_without_its_end_of_line_counts(filled, question):
    data = filled.read_bytes()
    filled.write_bytes(data[:-1])
    with VerdictCache(filled) as verdicts:
        assert verdicts.get("b") == UNJUDGED
    assert filled.read_bytes() == data


@pytest.mark.parametrize(
    "text",
    ["notes, not verdicts", "notes\n", '{"key": 1}\n', "[]\n", "\n", "[" * 9999],
)
def test_what_is_no_verdict_is_told_and_set_aside(cache, question, caplog, text):
    cache.parent.mkdir()
    cache.write_text(text)
    for _ in range(2):
        with VerdictCache(cache) as verdicts:
            verdicts.record("a", question, VERDICT)
    assert cache.with_name("judge.jsonl.damaged").read_text() == text
    assert len(caplog.records) == 1
    said = caplog.records[0].getMessage()
    assert "1 of 1 lines of " in said and "judge.jsonl.damaged" in said


def test_a_line_with_scores_out_of_range_is_set_aside(filled):
    text = filled.read_text()
    filled.write_text(text.replace('"instruction": 8', '"instruction": 80'))
    with VerdictCache(filled) as verdicts:
        assert verdicts.get("a") is None and verdicts.get("b") == UNJUDGED


def test_200_damages_never_change_a_verdict_and_are_never_a_traceback(filled, question):
    rng, whole = random.Random(0), filled.read_bytes()
    known = {"a": VERDICT, "b": UNJUDGED}
    for _ in range(200):
        data = bytearray(whole)
        kind = rng.choice(("cut", "flip", "garbage", "insert"))
        place = rng.randrange(len(data))
        if kind == "cut":
            del data[place : place + rng.randrange(1, 50)]
        elif kind == "flip":
            data[place] ^= 1 << rng.randrange(8)
        elif kind == "garbage":
            data[place : place + 20] = rng.randbytes(20)
        else:
            data[place:place] = rng.choice((b"\n", b"\0\xff", b"[" * 5000, b"1" * 5000))
        filled.write_bytes(data)
        with VerdictCache(filled) as verdicts:
            for key, verdict in known.items():
                assert verdicts.get(key) in (None, verdict), (kind, place)
            verdicts.record("c", question, VERDICT)
        with VerdictCache(filled) as verdicts:
            assert verdicts.get("c") == VERDICT


def test_a_path_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be kept in"):
        VerdictCache(tmp_path)
