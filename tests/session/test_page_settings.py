"""Settings that are chosen on the page, and turns that are made again."""

import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import loaded_model, page_files
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.page_settings import repeat, retry, with_choices
from tests.session.editors import assert_equal_turns, edited

TWO = ("make it blue", "add a hat")


def test_what_was_not_changed_is_the_very_editor(editor):
    own = editor.steps, editor.sampler.guidance, None, editor.memory.sink
    assert with_choices(editor) is editor
    assert with_choices(editor, *own, editor.memory.window) is editor


def test_choices_reach_the_sampler_and_the_memory(editor):
    other = with_choices(editor, 3.0, 2.5, 4, 0.0, 5)
    sampler, memory = other.sampler, other.memory
    assert (other.steps, sampler.guidance, sampler.shift) == (3, 2.5, 4.0)
    assert (memory.sink, memory.window) == (0, 5)
    assert memory.positions == editor.memory.positions


@pytest.mark.parametrize(
    "choices, told",
    [
        ({"steps": 51}, "from 1 to 50 on a page, given 51"),
        ({"steps": 0}, "from 1 to 50"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": "4"}, "steps must be a whole number"),
        ({"window": 32}, "at most 32 frames together"),
        ({"sink": -1}, "sink"),
        ({"guidance": "x"}, "guidance must be a number"),
        ({"guidance": float("nan")}, "guidance must be a number"),
        ({"shift": 0}, "shift"),
    ],
)
def test_choices_have_bounds(editor, choices, told):
    with pytest.raises(UserError, match=told):
        with_choices(editor, **choices)


def test_few_of_many_settings_keep_their_programs(editor, monkeypatch):
    monkeypatch.setattr(loaded_model, "MOST_PROGRAMS", 3)
    editor = loaded_model.LoadedModel.with_settings(editor, size=(16, 16))
    object.__setattr__(editor, "_programs", {})
    first, *others = (with_choices(editor, guidance=g) for g in (2.0, 3.0, 4.0))
    programs = [each.programs for each in (first, *others)]
    assert with_choices(editor, guidance=2.0).programs is programs[0]  # used again
    assert with_choices(editor, guidance=5.0).programs
    assert len(editor._programs) == 3
    assert with_choices(editor, guidance=2.0).programs is programs[0]
    assert with_choices(editor, guidance=3.0).programs is not programs[1]
    assert first.programs is programs[0]


def test_a_retry_has_the_next_seed_and_the_rest_stays(editor):
    session = edited(editor, TWO, seed=4)
    before = session.history
    retry(session)
    assert session.history[:2] == before[:2] and session.turn == 2
    assert session.history[2].instruction == "add a hat"
    assert [turn.seed for turn in session.history[1:]] == [4, 5]
    assert not np.array_equal(session.history[2].pixels, before[2].pixels)
    session.goto(0)
    with pytest.raises(UserError, match="no edit to try again"):
        retry(session)


def test_a_retry_that_fails_leaves_the_turn(editor):
    session = edited(editor, TWO)
    before = session.turns

    def fail(step, steps):
        raise UserError("the device is gone")

    with pytest.raises(UserError, match="the device is gone"):
        retry(session, fail)
    assert session.turns == before and session.turn == 2


def test_a_repeat_is_a_branch_under_other_settings(editor, monkeypatch):
    branches = Branches(edited(editor, TWO, seed=3))
    old = branches.session
    other = with_choices(editor, steps=1)
    repeat(branches, other)
    assert branches.names == ("main", "branch-2") and branches.current == "branch-2"
    new = branches.session
    assert new.editor.steps == 1 and old.turn == new.turn == 2
    again = edited(other, TWO, seed=3)
    assert_equal_turns(new.history, again.history)
    monkeypatch.setattr(page_files, "MOST_TURNS", 5)
    with pytest.raises(UserError, match="at most 5 turns"):
        repeat(branches, editor)
    assert branches.names == ("main", "branch-2")
