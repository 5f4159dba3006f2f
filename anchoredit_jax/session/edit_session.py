"""A session: one source image and the turns made from it.

A turn is a value that holds its latent frame and the memory after it, so going back is
exact at any depth, also where the window has rolled, and nothing is encoded after the
start (design 3.4, 3.6). Turns and branches share the frames of their memories: a turn
costs one frame, not a window of them.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from anchoredit_jax.data.images import Crop, map_back
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import CausalMemory
from anchoredit_jax.models.codec import from_uint8, to_uint8
from anchoredit_jax.session import session_file
from anchoredit_jax.session.editor import Editor
from anchoredit_jax.session.shared_memory import SharedMemory
from anchoredit_jax.turn import session_key

MAX_SEED = 2**31 - 1


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
    """The source (number 0) or the result of one instruction.

    Attributes:
      number: of the turn.
      instruction: None for the source; "" is the null instruction.
      seed: of this turn's noise, None for the source.
      pixels: uint8 [H, W, 3] at the model's size.
      crop: where the model's image lies in the source.
      latent: [1, h, w, C].
      remembered: the memory after this frame was committed, in pieces that turns
        share. None for the source: what it commits depends on the first instruction,
        so that is done by the first edit.
    """

    number: int
    instruction: str | None
    seed: int | None
    pixels: np.ndarray
    crop: Crop
    latent: jax.Array
    remembered: SharedMemory | None

    @property
    def memory(self) -> CausalMemory | None:
        """After this frame was committed, put together anew; None for the source."""
        return None if self.remembered is None else self.remembered.join()

    @property
    def image(self) -> Image.Image:
        """At the size of the crop in the source."""
        return Image.fromarray(map_back(self.pixels, self.crop))

    @property
    def model_image(self) -> Image.Image:
        """At the model's size."""
        return Image.fromarray(self.pixels)


class EditSession:
    """Edits one image turn after turn. Made by `Editor.start` or `EditSession.load`.

    Attributes:
      editor: whose weights and settings it uses.
      seed: of turns that are not given one of their own.
    """

    def __init__(self, editor: Editor, turns: Sequence[Turn], seed: int):
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
        cls, editor: Editor, pixels: np.ndarray, crop: Crop, seed: int = 0
    ) -> "EditSession":
        """A new session on uint8 [H, W, 3] of the model's size; encodes it, once."""
        latent = editor.codec.encode(from_uint8(pixels[None]))
        latent = jnp.asarray(latent, jnp.float32)
        return cls(editor, [Turn(0, None, None, pixels, crop, latent, None)], seed)

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
    def crop(self) -> Crop:
        """Where the model's image lies in the source."""
        return self._turns[0].crop

    def edit(self, instruction: str, seed: int | None = None) -> Image.Image:
        """Make one turn; turns that were undone are dropped.

        The result depends on the source, the instructions and seeds up to here and the
        turn's number, not on what was undone or on other sessions.

        Args:
          instruction: "" keeps the image as it is.
          seed: of this turn; by default the session's.

        Returns:
          the image, at the size of the crop in the source.

        Raises:
          UserError: an instruction that the text encoder cannot take, a seed out of
            range, or a full history that is full.
        """
        before = self._turns[self._current]
        number = before.number + 1
        seed = self.seed if seed is None else check_seed(seed)
        limit = self.editor.max_turns
        if limit is not None and number > limit:
            raise UserError(
                f"this session keeps its full history of at most {limit} turns: undo "
                "some, or load the editor with a larger max_turns or a window"
            )
        text = _embed(self.editor, instruction)
        params, programs = self.editor.params, self.editor.programs
        past = before.remembered
        if past is None:
            past = SharedMemory.split(programs.start(params, before.latent, text))
        memory = past.join()
        keys = session_key(seed, 0, number)[None]
        latent = programs.draw(params, memory, text, keys, before.latent.shape[1:])
        memory = programs.commit(params, memory, latent, text)
        remembered = SharedMemory.split(memory, past)
        pixels = _decode(self.editor, latent)
        made = Turn(number, instruction, seed, pixels, before.crop, latent, remembered)
        self._turns = (*self.history, made)
        self._current = number
        return made.image

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
        cls, path: str | os.PathLike, editor: Editor | None = None
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
        cls, editor: Editor, saved: session_file.SavedSession
    ) -> "EditSession":
        """The session that `saved` holds, on an editor of the same weights."""
        latents = jnp.asarray(saved.latents)[:, None]
        turns = [Turn(0, None, None, saved.source, saved.crop, latents[0], None)]
        params, programs = editor.params, editor.programs
        memory = remembered = None
        for number, (instruction, seed) in enumerate(saved.turns, start=1):
            text, latent = _embed(editor, instruction), latents[number]
            if memory is None:
                memory = programs.start(params, latents[0], text)
            memory = programs.commit(params, memory, latent, text)
            remembered = SharedMemory.split(memory, remembered)
            pixels = _decode(editor, latent)
            turns.append(
                Turn(number, instruction, seed, pixels, saved.crop, latent, remembered)
            )
        return cls(editor, turns, saved.seed)


def _embed(editor: Editor, instruction: str) -> jax.Array:
    """float32 [1, S, Dt]."""
    if not isinstance(instruction, str):
        raise UserError(
            f"an instruction must be text, given {instruction!r}; an empty text keeps "
            "the image as it is"
        )
    return jnp.asarray(editor.text.encode([instruction]))


def _decode(editor: Editor, latent: jax.Array) -> np.ndarray:
    """[1, h, w, C] -> uint8 [H, W, 3]."""
    return np.asarray(to_uint8(editor.codec.decode(jax.device_get(latent))))[0]


def check_seed(seed: int) -> int:
    """`seed` as an int.

    Raises:
      UserError: not a whole number from 0 to `MAX_SEED`.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise UserError(f"a seed must be a whole number, given {seed!r}")
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"a seed must be from 0 to {MAX_SEED}, given {seed}")
    return int(seed)
