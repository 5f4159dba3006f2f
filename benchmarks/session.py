"""A turn of a long session through `EditSession.edit`, and what branches cost."""

import dataclasses
import functools
import gc

import jax

from anchoredit_jax.session import Editor, EditSession, load_editor
from anchoredit_jax.session.loaded_model import SHIPPED
from anchoredit_jax.testing import record_compilations
from benchmarks.timing import Timing, interleave

TURNS = (5, 50, 200)
BRANCHES = 20
_INSTRUCTIONS = ("make the background blue", "add a red circle", "cover the subject")


@dataclasses.dataclass(frozen=True)
class SessionCost:
    """What turns and branches cost.

    Attributes:
      times: seconds that making a turn took, by the turn's number.
      compiled: programs that were compiled after the first turn.
      frame: device bytes of a frame: latent, keys and values.
      per_turn: device bytes that a turn adds to its session.
      session: device bytes of a session of as many turns as there are branches.
      branched: of it and its branches, each of which made one turn.
      branches: how many.
    """

    times: dict[int, Timing]
    compiled: tuple[str, ...]
    frame: int
    per_turn: float
    session: int
    branched: int
    branches: int


def benchmark_session(
    editor: Editor | None = None,
    turns: tuple[int, ...] = TURNS,
    branches: int = BRANCHES,
    repetitions: int = 30,
) -> SessionCost:
    """One session, gone on with from several of its turns in turns.

    Args:
      editor: must have a memory with a window; it is the shipped toy by default.
      turns: numbers of the turns that are timed.
    """
    editor = load_editor() if editor is None else editor
    session = _edited(editor, 1)
    with record_compilations() as compiled:
        for _ in range(max(turns) - 1):
            _edit(session)
        again = {turn: functools.partial(_again, session, turn) for turn in turns}
        times = interleave(again, repetitions)
        before = _live_bytes()
        other = _edited(editor, branches)
        alone = _live_bytes() - before
        _edit(other)
        per_turn = _live_bytes() - before - alone
        other.undo()
        ways = [other.branch() for _ in range(branches)]
        for way in ways:
            _edit(way)
        del other  # the branches hold its turns, but for the one that was undone
        branched = _live_bytes() - before
    last = ways[0].history[-1]
    frame = last.latent.nbytes + sum(kept.nbytes for kept in last.remembered.slots[0])
    return SessionCost(
        times, tuple(compiled), frame, per_turn, alone, branched, branches
    )


def _edited(editor: Editor, turns: int) -> EditSession:
    session = editor.start(SHIPPED / "sample.png")
    for _ in range(turns):
        _edit(session)
    return session


def _edit(session: EditSession) -> None:
    session.edit(_INSTRUCTIONS[session.turn % len(_INSTRUCTIONS)])


def _again(session: EditSession, turn: int) -> None:
    """Make a turn in a branch, so that the session keeps the later ones."""
    session.goto(turn - 1)
    _edit(session.branch())


def _live_bytes() -> int:
    """The bytes of all buffers on devices; arrays that share one count it once.

    On a CPU a copy for the host shares its array's buffer.
    """
    gc.collect()
    shards = (
        shard for array in jax.live_arrays() for shard in array.addressable_shards
    )
    buffers = {
        (shard.device, shard.data.unsafe_buffer_pointer()): shard.data.nbytes
        for shard in shards
    }
    return sum(buffers.values())
