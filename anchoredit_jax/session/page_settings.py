"""The settings that a person may choose on the page, held against its bounds.

Each combination compiles programs of its own, and one editor serves everybody: what
would keep it for minutes is refused.
"""

import dataclasses
import math

from anchoredit_jax.errors import UserError
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.edit_session import EditSession, OnStep
from anchoredit_jax.session.editor import Editor
from anchoredit_jax.session.overrides import override_sampler
from anchoredit_jax.session.page_files import check_room, read_whole
from anchoredit_jax.session.turns import MAX_SEED

MOST_STEPS = 50
MOST_FRAMES = 32  # that a memory keeps


def with_choices(
    editor: Editor,
    steps: float | None = None,
    guidance: float | None = None,
    shift: float | None = None,
    sink: float | None = None,
    window: float | None = None,
) -> Editor:
    """The editor with what was chosen; None, and what it has anyway, change nothing.

    Raises:
      UserError: a number that is none, or more than a page allows.
    """
    memory, sampler = editor.memory, editor.sampler
    numbers = {"steps": steps, "sink": sink, "window": window}
    whole = {
        name: read_whole(name, number)
        for name, number in numbers.items()
        if number is not None
    }
    steps = whole.pop("steps", editor.steps)
    if steps != editor.steps and not 1 <= steps <= MOST_STEPS:
        raise UserError(
            f"steps must be from 1 to {MOST_STEPS} on a page, given {steps}"
        )
    kept = dataclasses.replace(memory, **whole)
    if kept != memory and kept.sink + (kept.window or 0) > MOST_FRAMES:
        raise UserError(
            f"sink and window are at most {MOST_FRAMES} frames together on a page, "
            f"given {kept.sink} and {kept.window}"
        )
    changes = {
        name: value
        for name, value, own in (
            ("steps", steps, editor.steps),
            ("guidance", _finite("guidance", guidance), sampler.guidance),
            ("shift", _finite("shift", shift), sampler.shift),
        )
        if value is not None and value != own
    }
    return editor.with_settings(kept, override_sampler(sampler, **changes))


def _finite(name: str, number: float | None) -> float | None:
    if number is None:
        return None
    if not isinstance(number, int | float) or not math.isfinite(number):
        raise UserError(f"{name} must be a number, given {number!r}")
    return float(number)


def repeat(branches: Branches, editor: Editor, on_step: OnStep | None = None) -> None:
    """Make all turns of the current branch again on `editor`, with their instructions
    and seeds, as a new branch; the old one stays, and nothing changes on failure.

    Raises:
      UserError: the page keeps no more, or what `EditSession.edit` refuses.
    """
    session = branches.session
    check_room(branches, session.turn, new_branch=True)
    source = session.history[0]
    again = EditSession.from_pixels(editor, source.pixels, source.crop, session.seed)
    for turn in session.history[1:]:
        again.edit(turn.instruction or "", turn.seed, on_step)
    branches.add(branches.free_name(), again)


def retry(session: EditSession, on_step: OnStep | None = None) -> None:
    """Make the current turn again with the next seed; on failure the old one stays.

    Raises:
      UserError: there is no edit to try again, or what `EditSession.edit` refuses.
    """
    turn = session.history[-1]
    if turn.instruction is None or turn.seed is None:
        raise UserError("there is no edit to try again: this is the source")
    session.goto(turn.number - 1)
    try:
        session.edit(turn.instruction, (turn.seed + 1) % (MAX_SEED + 1), on_step)
    finally:
        session.goto(turn.number)
