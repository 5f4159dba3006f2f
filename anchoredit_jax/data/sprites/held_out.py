"""Sprite sessions that no training run sees, for the three tests of an editor."""

from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.sprites.instructions import (
    AMBIGUOUS_KINDS,
    KINDS,
    sample_edit,
)
from anchoredit_jax.data.sprites.sessions import (
    SpriteSession,
    cover_session,
    sample_session,
)
from anchoredit_jax.errors import UserError

HELD_OUT_SEED = 900_000_000  # data seed of evaluation seed 0; training counts from 0
EQUAL_WEIGHTS = {kind: 1.0 for kind in KINDS}
DISTRACTORS = 5  # edits between cover and uncover: more than a window of 3 holds


def held_out_sessions(count: int, turns: int, seed: int = 0) -> list[SpriteSession]:
    """Sessions of `turns` edits, every kind equally likely where it is possible."""
    _check_counts(sessions=count, turns=turns)
    data_seed = HELD_OUT_SEED + seed
    return [sample_session(data_seed, i, turns, EQUAL_WEIGHTS) for i in range(count)]


def story_sessions(
    count: int, seed: int = 0, distractors: int = DISTRACTORS
) -> list[SpriteSession]:
    """Scripted sessions: cover the subject, `distractors` other edits, uncover it."""
    _check_counts(story_sessions=count)
    return [cover_session(HELD_OUT_SEED + seed, i, distractors) for i in range(count)]


def ambiguous_sessions(
    count: int, seed: int = 0, kinds: Sequence[str] = AMBIGUOUS_KINDS
) -> list[SpriteSession]:
    """Sessions of one edit that has several right answers, the kinds in turn."""
    _check_counts(ambiguous_sessions=count)
    sessions, index = [], 0
    while len(sessions) < count:
        kind = kinds[len(sessions) % len(kinds)]
        scene = sample_session(HELD_OUT_SEED + seed, index, 1).scenes[0]
        index += 1
        if kind == "add_somewhere" and scene.accessories.count(None) < 2:
            continue  # one free slot or none: the answer would not be ambiguous
        rng = np.random.default_rng((HELD_OUT_SEED + seed, index))
        edit = sample_edit(rng, scene, {kind: 1.0})
        sessions.append(SpriteSession(index, (scene, edit.after), (edit,)))
    return sessions


def check_held_out(training_seed: int, seed: int = 0) -> None:
    """Refuse an evaluation on the sessions that a checkpoint was trained on.

    Raises:
      UserError: if the two seeds give the same sessions.
    """
    if training_seed == HELD_OUT_SEED + seed:
        raise UserError(
            f"the checkpoint was trained with data seed {training_seed}, the sessions "
            f"of evaluation seed {seed}; give another --seed"
        )


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} must be 1 or more, got {count}")
