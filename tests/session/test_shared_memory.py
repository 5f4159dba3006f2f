"""Turns and branches share frames; what is put together again is exact."""

import jax
import numpy as np
import pytest

from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.session.shared_memory import SharedMemory
from tests.session.editors import SOURCE, assert_equal_turns, edited

TURNS, WINDOW = 20, 3
LONG = tuple(f"make it number {turn}" for turn in range(TURNS))


@pytest.fixture(scope="module")
def windowed(editor):
    return editor.with_settings(memory=MemoryConfig(sink=1, window=WINDOW))


def device_bytes(sessions) -> int:
    """Of all device buffers that the sessions' turns hold, each counted once."""
    pieces = [
        (turn.latent, turn.remembered and (turn.remembered.slots, turn.remembered.rest))
        for session in sessions
        for turn in session.turns
    ]
    buffers = {a.unsafe_buffer_pointer(): a.nbytes for a in jax.tree.leaves(pieces)}
    return sum(buffers.values())


def test_twenty_branches_cost_their_new_frames(windowed):
    session = edited(windowed, LONG)
    alone = device_bytes([session])
    branches = [session.branch() for _ in range(20)]
    assert device_bytes([session, *branches]) == alone
    for number, branch in enumerate(branches):
        branch.edit(f"go way {number}")
    # What a turn holds of its own: one latent, and one frame's keys and values.
    last = session.history[-1]
    new = last.latent.nbytes + sum(part.nbytes for part in last.remembered.slots[0])
    assert device_bytes([session, *branches]) < 1.2 * alone + 20 * new
    assert alone < 1.2 * (TURNS + 1) * new


@pytest.mark.parametrize("back", [1, WINDOW, WINDOW + 2, TURNS - 1])
def test_undo_and_branch_are_exact_after_twenty_turns(windowed, back):
    session = edited(windowed, LONG)
    memory = np.asarray(session.history[-1].memory.frames)[0]
    assert sorted(memory.tolist()) == [0, TURNS - 2, TURNS - 1, TURNS]  # it rolled
    branch = session.branch()
    session.undo(back)
    other = session.branch()
    for prompt in ("another way", "and on"):
        session.edit(prompt)
    other.edit("a third way")
    kept = LONG[: TURNS - back]
    assert_equal_turns(
        session.history, edited(windowed, (*kept, "another way", "and on")).history
    )
    assert_equal_turns(other.history, edited(windowed, (*kept, "a third way")).history)
    assert_equal_turns(branch.history, edited(windowed, LONG).history)


def test_split_and_join_are_exact_and_share_what_stays(windowed):
    programs, params = windowed.programs, windowed.params
    source = windowed.start(SOURCE).history[0].latent
    text = windowed.text.encode(["make it blue"])
    memory, before = programs.start(params, source, text), None
    for turn in range(6):
        pieces = SharedMemory.split(memory, before)
        for left, right in zip(
            jax.tree.leaves(memory), jax.tree.leaves(pieces.join()), strict=True
        ):
            np.testing.assert_array_equal(left, right)
        if before is not None:
            kept = [a is b for a, b in zip(before.slots, pieces.slots, strict=True)]
            assert kept.count(False) == 1, turn
        memory, before = programs.commit(params, memory, source, text), pieces


def test_undone_turns_stay_within_reach(windowed):
    session = edited(windowed, LONG[:4])
    session.undo(3)
    assert len(session.history) == 2 and len(session.turns) == 5
    session.edit("another way")
    assert [turn.instruction for turn in session.turns[1:]] == [LONG[0], "another way"]
