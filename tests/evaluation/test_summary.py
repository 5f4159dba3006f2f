"""The reported numbers, on scores made by hand."""

import dataclasses
import json

import numpy as np
import pytest

from anchoredit_jax.data.sprites import score_sessions
from anchoredit_jax.evaluation import PARTS
from anchoredit_jax.evaluation.cases import followed
from anchoredit_jax.evaluation.parts.ambiguous import summarise_ambiguous
from anchoredit_jax.evaluation.parts.sessions import (
    comparison_table,
    kinds_table,
    policies_table,
    turns_table,
)
from anchoredit_jax.evaluation.parts.story import summarise_story
from anchoredit_jax.evaluation.summary import compare, summarise
from anchoredit_jax.evaluation.table import format_table, table_of


def rows_of(part, results):
    """The rows of one checkpoint's results."""
    return table_of({part: {"toy": results}}, [part])


def printed(part, results):
    (block,) = PARTS[part].blocks(rows_of(part, results), "toy")
    return block


@pytest.fixture
def scores(sessions, perfect):
    return score_sessions(sessions, perfect)


def test_summary_of_perfect_images(scores):
    result = summarise(followed(scores), scores)
    assert result["success"]["mean"] == 1.0
    assert result["success"]["count"] == scores.success.size
    assert set(result["success_by_kind"]) == set(np.unique(scores.kinds))
    assert all(kind["mean"] == 1.0 for kind in result["success_by_kind"].values())
    assert [len(turns) for turns in result["per_turn"].values()] == [6] * 6
    json.dumps(result, allow_nan=False)


def test_success_by_kind_counts_only_that_kind(scores):
    failed = scores.success.copy()
    failed[scores.kinds == "move"] = 0
    changed = dataclasses.replace(scores, success=failed)
    result = summarise(followed(changed), changed)
    by_kind = result["success_by_kind"]
    assert by_kind.pop("move")["mean"] == 0.0
    assert all(kind["mean"] == 1.0 for kind in by_kind.values())
    assert result["success"]["mean"] == pytest.approx(failed.mean())


def test_story_is_judged_at_its_last_turn(stories, perfect_stories):
    scores = score_sessions(stories, perfect_stories)
    success, retrieved = scores.success.copy(), scores.retrieved.copy()
    success[:3, -1] = 0
    retrieved[:2, -1] = 0
    success[:, 1] = 0  # a failure on the way is none of this test's business
    changed = dataclasses.replace(scores, success=success, retrieved=retrieved)
    result = summarise_story(changed)
    assert result["uncover"]["mean"] == 0.5
    assert result["retrieved"]["mean"] == pytest.approx(4 / 6)
    assert result["covered_psnr"]["count"] == 6 * 6
    json.dumps(result, allow_nan=False)


def test_differences_are_paired(scores):
    # Large differences between sessions, a small constant one between the two runs.
    levels = np.linspace(10, 50, len(scores.success))[:, None]
    first = dataclasses.replace(
        scores, untouched_psnr=np.broadcast_to(levels, scores.success.shape)
    )
    second = dataclasses.replace(first, untouched_psnr=first.untouched_psnr + 0.5)
    result = compare(followed(first), followed(second))
    difference = result["untouched_psnr_last"]
    assert difference["low"] == pytest.approx(0.5) == difference["high"]
    assert result["success"]["mean"] == 0.0


def _ambiguous(scores, answer, success, sharpness):
    rows = {
        "answer": np.array(answer)[:, None],
        "success": np.array(success, float)[:, None],
        "sharpness": np.array(sharpness)[:, None],
        "kinds": np.array([["add_somewhere"], ["background_other"]]),
    }
    return dataclasses.replace(scores, **rows)


def test_ambiguous_summary(scores):
    draws = [
        _ambiguous(scores, [0, 2], [1, 1], [0.9, 1.0]),
        _ambiguous(scores, [1, 2], [1, 1], [0.5, 1.0]),
        _ambiguous(scores, [0, 2], [1, 0], [0.9, 1.0]),
    ]
    result = summarise_ambiguous(draws, np.array([4, 3]))
    somewhere, other = result["add_somewhere"], result["background_other"]
    assert somewhere["valid"]["mean"] == 1.0
    assert somewhere["sharp"]["mean"] == pytest.approx(2 / 3)
    assert somewhere["valid_and_sharp"]["mean"] == pytest.approx(2 / 3)
    # Two of three pairs differ; a fair choice of four differs in 3 of 4.
    assert somewhere["diversity"]["mean"] == pytest.approx((2 / 3) / 0.75)
    assert other["diversity"]["mean"] == 0.0
    assert result["all"]["valid"]["mean"] == pytest.approx(5 / 6)
    json.dumps(result, allow_nan=False)


def test_diversity_needs_two_valid_draws(scores):
    draws = [_ambiguous(scores, [0, 1], [1, 0], [1.0, 1.0])] * 2
    result = summarise_ambiguous(draws, np.array([2, 2]))
    assert result["add_somewhere"]["diversity"]["mean"] == 0.0
    assert result["background_other"]["diversity"]["mean"] is None


def test_tables_show_the_numbers(scores, stories, perfect_stories):
    result = {"sink1_window3": summarise(followed(scores), scores)}
    rows = rows_of("table", result)
    text = policies_table(rows)
    assert "sink 1 + window 3" in text and "turn 1 / 3 / 6" in text
    assert "1.000 [1.000, 1.000]" in text and "60.0 / 60.0 / 60.0" in text
    assert "move" in kinds_table(rows)
    story = summarise_story(score_sessions(stories, perfect_stories))
    assert "1.000 [1.000, 1.000]" in printed("story", {"window3": story})
    draws = [_ambiguous(scores, [0, 1], [1, 0], [1.0, 0.5])]
    ambiguous = summarise_ambiguous(draws, np.array([2, 2]))
    lines = printed("ambiguous", {"few_step:4": ambiguous}).splitlines()
    assert len(lines) == 2 + 3 and lines[2].startswith("few_step:4")
    assert lines[2].endswith("-")  # diversity is unknown with one draw


def test_comparisons_name_what_differs(scores):
    places = [("teacher", "full"), ("teacher", "window3"), ("student", "full")]
    first, policy, checkpoint = (dict(checkpoint=c, policy=p) for c, p in places)
    difference = compare(followed(scores), followed(scores))
    entries = [
        dict(first=first, second=second, difference=difference)
        for second in (policy, checkpoint)
    ]
    lines = comparison_table(entries).splitlines()
    assert lines[2].startswith("teacher: window 3, no sink - full history")
    assert lines[3].startswith("student - teacher, full history")
    assert "0.000 [0.000, 0.000]" in lines[2] and "SSIM" not in lines[0]


def test_other_measures_than_those_of_sprites():
    """Sessions of different lengths: what does not exist is in no mean."""
    values = np.array([[1.0, 3.0], [2.0, np.nan]])
    result = summarise({"source_difference": values, "identity_psnr": values * np.nan})
    turns = result["per_turn"]["source_difference"]
    assert [(turn["mean"], turn["count"]) for turn in turns] == [(1.5, 2), (3.0, 1)]
    assert "success" not in result
    text = turns_table(rows_of("table", {"window3": result}))
    assert "mean difference from the source" in text and "PSNR" not in text
    assert text.splitlines()[-1].split()[-2:] == ["1.5", "3.0"]


def test_columns_are_aligned():
    text = format_table(["a", "bb"], [["ccc", "1"], ["d", "100"]])
    assert text.splitlines() == ["a     bb", "---  ---", "ccc    1", "d    100"]
