"""Held-out sessions: pure in the seed, and what they promise."""

import pytest

from anchoredit_jax.data.sprites import (
    ambiguous_sessions,
    held_out_sessions,
    sample_session,
    story_sessions,
)
from anchoredit_jax.data.sprites.held_out import (
    EQUAL_WEIGHTS,
    HELD_OUT_SEED,
    check_held_out,
)
from anchoredit_jax.errors import UserError


def test_sessions_are_a_function_of_the_seed():
    assert held_out_sessions(3, 4, 1) == held_out_sessions(3, 4, 1)
    assert held_out_sessions(3, 4, 1) != held_out_sessions(3, 4, 2)
    assert held_out_sessions(3, 4, 1) == held_out_sessions(5, 4, 1)[:3]


def test_no_training_session_among_them():
    held_out = held_out_sessions(20, 1)
    trained = [sample_session(0, i, 1, EQUAL_WEIGHTS) for i in range(20)]
    subjects = {s.scenes[0].subject for s in held_out}
    assert not subjects & {s.scenes[0].subject for s in trained}


def test_the_sessions_of_a_training_seed_are_refused():
    check_held_out(0, 0)
    with pytest.raises(UserError, match="another --seed"):
        check_held_out(HELD_OUT_SEED + 3, 3)


def test_every_kind_occurs():
    sessions = held_out_sessions(20, 12)
    kinds = {edit.kind for session in sessions for edit in session.edits}
    assert kinds == set(EQUAL_WEIGHTS)


def test_story_covers_for_longer_than_a_window():
    for session in story_sessions(5):
        covered = [scene.covered for scene in session.scenes]
        assert covered == [False] + [True] * 6 + [False]
        kinds = [edit.kind for edit in session.edits]
        assert kinds[0] == "cover" and kinds[-1] == "uncover"


def test_ambiguous_sessions_have_several_answers():
    sessions = ambiguous_sessions(10)
    kinds = [session.edits[0].kind for session in sessions]
    assert kinds == ["add_somewhere", "background_other"] * 5
    for session in sessions:
        edit = session.edits[0]
        assert len(session.edits) == 1 and len(edit.valid) > 1
        assert edit.after in edit.valid and session.scenes == (edit.before, edit.after)


def test_counts_below_one():
    for make in (lambda: held_out_sessions(0, 1), lambda: held_out_sessions(1, 0)):
        with pytest.raises(UserError, match="1 or more"):
            make()
