"""A session: one source image and the turns made from it.

A turn is a value that holds its latent frame and the memory after it, so going back is
exact at any depth, also where the window has rolled, and nothing is encoded after the
start (docs/method.md, Memory). Turns and branches share the frames of their memories: a
turn costs one frame, not a window of them.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.images import Crop
from anchoredit_jax.errors import UserError
from anchoredit_jax.session import session_file
from anchoredit_jax.session.contact_sheet import sheet_png
from anchoredit_jax.session.loaded_model import LoadedModel
from anchoredit_jax.session.shared_memory import SharedMemory
from anchoredit_jax.session.turns import (
    Asked,
    Turn,
    ask_turn,
    check_seed,
    decode,
    draw_turn,
    embed,
    finish_turn,
    source_turn,
)

# (steps that are done, of how many)
OnStep = Callable[[int, int], None]


class EditSession:
    """Edits one image turn after turn. Made by `Editor.start` or `EditSession.load`.

    Attributes:
      editor: has the weights and settings that it uses.
      seed: that of turns which are not given one of their own.
    """

    def __init__(self, editor: LoadedModel, turns: Sequence[Turn], seed: int):
        if editor.memory.window is None and editor.max_turns is None:
            raise UserError(
                "a full history (window None) has no size of its own: give "
                "load_editor max_turns, the longest session"
            )
        self.editor = editor
        self.seed = check_seed(seed)
        self._turns = tuple(turns)
        self._current = len(self._turns) - 1

    @classmethod
    def from_pixels(
        cls, editor: LoadedModel, pixels: np.ndarray, crop: Crop, seed: int = 0
    ) -> "EditSession":
        """A new session on uint8 [H, W, 3], cut and resized by `crop`; encodes it,
        once."""
        return cls(editor, [source_turn(editor, pixels, crop)], seed)

    @property
    def history(self) -> tuple[Turn, ...]:
        """The source and all turns up to the current one."""
        return self._turns[: self._current + 1]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The source and all turns, those that were undone and not replaced yet too."""
        return self._turns

    @property
    def turn(self) -> int:
        """Number of the current turn, 0 at the source."""
        return self._current

    @property
    def image(self) -> Image.Image:
        """The current turn's image, at the size of the crop in the source."""
        return self._turns[self._current].image

    @property
    def size(self) -> Size:
        """(height, width) that the image is edited at, pixels."""
        return self.crop.size

    @property
    def crop(self) -> Crop:
        """Where the model's image lies in the source: `crop.box` in its pixels, and
        `crop.scale`, model pixels for one of them; `crop.kept` is its share of them."""
        return self._turns[0].crop

    def edit(
        self, instruction: str, seed: int | None = None, on_step: OnStep | None = None
    ) -> Image.Image:
        """Make one turn; turns that were undone are dropped.

        The result depends on the source, the instructions and seeds up to here and the
        turn's number, not on what was undone or on other sessions.

        Args:
          instruction: "" keeps the image as it is.
          seed: of this turn; by default the session's.
          on_step: called after every denoising step with (step, steps), from (1, n) to
            (n, n). The host then waits for each step; the result is the same. What it
            raises ends the edit, and the session is as before.

        Returns:
          the image, at the size of the crop in the source.

        Raises:
          UserError: an instruction that the text encoder cannot take, a seed out of
            range, or a full history that is full.
        """
        return edit_together([self], [instruction], [seed], on_step)[0]

    def undo(self, turns: int = 1) -> Image.Image:
        """Go back, by default one turn; until the next edit `goto` goes forward again.

        Raises:
          UserError: fewer than one turn, or more than were made.
        """
        if not 1 <= turns <= self._current:
            raise UserError(
                f"cannot undo {turns} turns: {self._current} turns lie behind this one"
            )
        return self.goto(self._current - turns)

    def goto(self, turn: int) -> Image.Image:
        """Make `turn` the current one: 0 is the source; the next edit starts there.

        Raises:
          UserError: no such turn.
        """
        if not 0 <= turn < len(self._turns):
            raise UserError(
                f"there is no turn {turn}: this session has 0 (the source) to "
                f"{len(self._turns) - 1}"
            )
        self._current = turn
        return self.image

    def branch(self) -> "EditSession":
        """A second session with the same history; both share all buffers, and neither
        sees what the other does from here on."""
        return EditSession(self.editor, self.history, self.seed)

    def __repr__(self) -> str:
        height, width = self.size
        turns = f"turn {self.turn} of {len(self._turns) - 1}"
        return f"<EditSession at {turns}: {height} x {width}, seed {self.seed}>"

    def _repr_png_(self) -> bytes:
        """The pictures up to the current turn, which a notebook shows."""
        shown = self.history
        return sheet_png(
            [turn.pixels for turn in shown], [turn.caption for turn in shown]
        )

    def _ask(self, instruction: str, seed: int | None) -> Asked:
        seed = self.seed if seed is None else seed
        return ask_turn(self.editor, self._turns[self._current], instruction, seed)

    def _append(self, turn: Turn) -> None:
        self._turns = (*self.history, turn)
        self._current = turn.number

    def record(self) -> dict[str, Any]:
        """All that is needed to repeat the session, as plain JSON values."""
        return session_file.make_record(self.editor, self.history, self.seed)

    def save(self, path: str | os.PathLike) -> None:
        """Write the history into one file; it appears whole or not at all.

        Raises:
          UserError: the file cannot be written.
        """
        latents = jax.device_get([turn.latent for turn in self.history])
        tensors = {
            "latents": np.concatenate(latents),
            "source": np.ascontiguousarray(self._turns[0].pixels),
        }
        session_file.write(path, self.record(), tensors)

    @classmethod
    def load(
        cls, path: str | os.PathLike, editor: LoadedModel | None = None
    ) -> "EditSession":
        """Read a saved session: its frames come from the file, the memory is rebuilt
        from them with one commit a turn.

        Args:
          editor: of the same weights; by default they are loaded from where the
            session had them. Settings are the session's in either case.

        Raises:
          UserError: not a session file, or weights that are missing or others.
        """
        saved = session_file.read(path)
        editor = session_file.find_editor(path, saved, editor)
        return cls.from_saved(editor, saved)

    @classmethod
    def from_saved(
        cls, editor: LoadedModel, saved: session_file.SavedSession
    ) -> "EditSession":
        """The session that `saved` holds, on an editor of the same weights."""
        latents, record = jnp.asarray(saved.latents)[:, None], saved.record
        turns = [Turn(0, None, None, saved.source, record.crop, latents[0], None)]
        params, programs = editor.params, editor.programs
        memory = remembered = None
        for number, asked in enumerate(record.turns, start=1):
            text, latent = embed(editor, asked.instruction), latents[number]
            if memory is None:
                memory = programs.start(params, latents[0], text)
            memory = programs.commit(params, memory, latent, text)
            remembered = SharedMemory.split(memory, remembered)
            turns.append(
                Turn(
                    number,
                    asked.instruction,
                    asked.seed,
                    decode(editor, latent)[0],
                    record.crop,
                    latent,
                    remembered,
                )  # fmt: skip
            )
        return cls(editor, turns, record.seed)


def edit_together(
    sessions: Sequence[EditSession],
    instructions: str | Sequence[str],
    seeds: Sequence[int | None] | None = None,
    on_step: OnStep | None = None,
) -> list[Image.Image]:
    """Make one turn of each of several sessions: all of them, or none.

    Each gets the bits that it gets alone: the programs are those of one session, called
    one after the other, and the device has the next one's work while the host decodes.
    (As one batch, XLA would add up in another order; mapped in one program, they would
    take as long.) So sessions may be at different turns and of different editors, and
    may be undone, branched and left out at any time, and of different shapes; no number
    of them compiles anything, and the device holds what two turns need.

    Args:
      instructions: one for all, or one for each.
      seeds: one for each; None: the session's own.
      on_step: as of `EditSession.edit`, with the steps of all sessions.

    Returns:
      the images, as `EditSession.edit` returns them.

    Raises:
      UserError: other numbers of instructions or seeds than of sessions, a session
        given twice, or what `EditSession.edit` refuses.
    """
    if isinstance(instructions, str):
        instructions = [instructions] * len(sessions)
    if seeds is None:
        seeds = [None] * len(sessions)
    if not len(sessions) == len(instructions) == len(seeds):
        raise UserError(
            f"{len(instructions)} instructions and {len(seeds)} seeds were given for "
            f"{len(sessions)} sessions; give one of each for every session"
        )
    if len({id(session) for session in sessions}) != len(sessions):
        raise UserError("a session is given twice: branch it, and give the branch")
    asked = [
        session._ask(instruction, seed)
        for session, instruction, seed in zip(
            sessions, instructions, seeds, strict=True
        )
    ]
    after_step = on_step and _counting(on_step, sum(one.editor.steps for one in asked))
    turns, ahead = [], None
    for one in asked:
        drawn = draw_turn(one, after_step)
        if ahead is not None:
            turns.append(finish_turn(ahead))
        ahead = drawn
    if ahead is not None:
        turns.append(finish_turn(ahead))
    for session, turn in zip(sessions, turns, strict=True):
        session._append(turn)
    return [turn.image for turn in turns]


def _counting(on_step: OnStep, steps: int) -> Callable[[], None]:
    """`on_step` with the numbers that it is to be told."""
    numbers = iter(range(1, steps + 1))
    return lambda: on_step(next(numbers), steps)
