"""A turn, and how it is made: asked for, drawn, finished.

Asking checks everything. Drawing hands the work to the device and waits for nothing, so
that a device has the next session's work while the host decodes this one's.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from anchoredit_jax.checkpoint.checksums import check_finite
from anchoredit_jax.data.colour import srgb_image
from anchoredit_jax.data.images import Crop, map_back
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import is_unicode
from anchoredit_jax.memory import CausalMemory
from anchoredit_jax.models.codec import decode_pixels, from_uint8
from anchoredit_jax.models.text import check_length, shown
from anchoredit_jax.session.capacity import check_capacity
from anchoredit_jax.session.contact_sheet import sheet_png
from anchoredit_jax.session.loaded_model import LoadedModel
from anchoredit_jax.session.shared_memory import SharedMemory
from anchoredit_jax.strict import shorten
from anchoredit_jax.trees import leaves_by_name

MAX_SEED = 2**31 - 1


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Turn:
    """The source (number 0) or the result of one instruction.

    Attributes:
      number: counts the turns; 0 is the source.
      instruction: None for the source; "" is the null instruction.
      seed: that of this turn's noise, None for the source.
      pixels: uint8 [H, W, 3] at the size that it is edited at; a copy, read-only.
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

    def __post_init__(self):
        pixels = np.array(self.pixels)
        pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)

    @property
    def memory(self) -> CausalMemory | None:
        """The memory after this frame was committed, put together anew; else None."""
        return None if self.remembered is None else self.remembered.join()

    @property
    def image(self) -> Image.Image:
        """The turn's image at the size that its crop has in the source."""
        return srgb_image(map_back(self.pixels, self.crop))

    @property
    def model_image(self) -> Image.Image:
        """The turn's image at the size that it is edited at."""
        return srgb_image(self.pixels)

    @property
    def caption(self) -> str:
        """The turn in a few words."""
        instruction = (self.instruction or "").strip() or "(no instruction)"
        return f"{self.number}. {instruction}" if self.number else "source"

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"<Turn {shorten(self.caption)}: {height} x {width}{seed}>"

    def _repr_png_(self) -> bytes:
        """The turn's picture with its caption, which notebooks show."""
        return sheet_png([self.pixels], [self.caption])


class Asked(NamedTuple):
    """A turn that can be made.

    Attributes:
      editor: makes the turn.
      before: the turn that it follows.
      instruction, seed: what is asked, and what its noise is drawn from.
      text: the instruction, float32 [1, S, Dt].
    """

    editor: LoadedModel
    before: Turn
    instruction: str
    seed: int
    text: jax.Array

    @property
    def number(self) -> int:
        return self.before.number + 1


class Drawn(NamedTuple):
    """A turn that the device has, or is still at.

    Attributes:
      asked: what was asked for.
      latent: [1, h, w, C].
      memory: the memory after the frame was committed.
      past: the memory before.
    """

    asked: Asked
    latent: jax.Array
    memory: CausalMemory
    past: SharedMemory


def source_turn(editor: LoadedModel, pixels: np.ndarray, crop: Crop) -> Turn:
    """Make turn 0 of uint8 [H, W, 3], cut and resized by `crop`, and encode it.

    Raises:
      UserError: the machine cannot hold a session of this size.
    """
    check_capacity(editor, pixels.shape[:2])
    latent = jnp.asarray(editor.codec.encode(from_uint8(pixels[None])), jnp.float32)
    return Turn(0, None, None, pixels, crop, latent, None)


def ask_turn(editor: LoadedModel, before: Turn, instruction: str, seed: int) -> Asked:
    """Check that a turn can be made.

    Raises:
      UserError: an instruction that the text encoder cannot take, a seed out of range,
        or a full history that is full.
    """
    asked = Asked(
        editor, before, instruction, check_seed(seed), embed(editor, instruction)
    )
    limit = editor.max_turns
    if limit is not None and asked.number > limit:
        raise UserError(
            f"this session keeps its full history of at most {limit} turns: undo "
            "some, or load the editor with a larger max_turns or a window"
        )
    return asked


def draw_turn(asked: Asked, after_step: Callable[[], None] | None = None) -> Drawn:
    """Have the frame drawn and committed.

    Args:
      after_step: called when a denoising step is done; only with it does the host wait
        for each. The same program takes all steps at once or one at a time.
    """
    editor, before, text = asked.editor, asked.before, asked.text
    params, programs = editor.params, editor.programs
    past = before.remembered
    if past is None:
        past = SharedMemory.split(programs.start(params, before.latent, text))
    memory = past.join()
    seeds, numbers = (np.array([n], np.uint32) for n in (asked.seed, asked.number))
    x, noise = programs.noise(seeds, numbers, before.latent.shape[1:])
    bounds = np.arange(editor.steps + 1, dtype=np.int32)
    if after_step is None:
        bounds = bounds[[0, -1]]
    for first, last in itertools.pairwise(bounds):
        x = programs.draw(params, memory, text, x, noise, first, last)
        if after_step is not None:
            jax.block_until_ready(x)
            after_step()
    return Drawn(asked, x, programs.commit(params, memory, x, text), past)


def finish_turn(drawn: Drawn) -> Turn:
    """The turn, once the device has it."""
    asked, latent = drawn.asked, drawn.latent
    return Turn(
        number=asked.number,
        instruction=asked.instruction,
        seed=asked.seed,
        pixels=decode(asked.editor, latent)[0],
        crop=asked.before.crop,
        latent=latent,
        remembered=SharedMemory.split(drawn.memory, drawn.past),
    )


def check_instructions(editor: LoadedModel, instructions: Sequence[str]) -> None:
    """Check all instructions that will be given, and the text that guidance leads away
    from, before the first turn.

    Raises:
      UserError: one that the text encoder cannot take.
    """
    for text in (*instructions, editor.sampler.negative):
        check_text(text)
    editor.text.encode([*instructions, editor.sampler.negative])


def check_text(instruction: str) -> None:
    """Check that an instruction is a text that can be written down.

    Raises:
      UserError: it is no text, of bytes that are not UTF-8, or longer than `LONGEST`.
    """
    if not isinstance(instruction, str):
        raise UserError(
            f"an instruction must be text, given {shorten(instruction)}; an empty text "
            "keeps the image as it is"
        )
    if not is_unicode(instruction):
        raise UserError(
            "an instruction must be Unicode text, given the bytes "
            f"{shown(instruction)}: write it in UTF-8"
        )
    check_length(instruction)


def embed(editor: LoadedModel, instruction: str) -> jax.Array:
    """Embed an instruction: float32 [1, S, Dt].

    Raises:
      UserError: not a text, or one that the text encoder cannot take.
    """
    check_text(instruction)
    return jnp.asarray(editor.text.encode([instruction]))


def decode(editor: LoadedModel, latents: jax.Array) -> np.ndarray:
    """Decode frames: latents [B, h, w, C] -> uint8 [B, H, W, 3].

    Raises:
      UserError: values that are not finite; it names the weights that are not.
    """
    try:
        return decode_pixels(editor.codec.decode, jax.device_get(latents))
    except UserError as error:
        check_finite(
            leaves_by_name(editor.params), f"{error}; the transformer's weights"
        )
        raise UserError(
            f"{error}; the transformer's weights are finite, so a setting is too "
            f"strong (guidance is {editor.sampler.guidance}) or the dtype too narrow"
        ) from error


def check_seed(seed: int) -> int:
    """Check a seed, and give it back as an int.

    Raises:
      UserError: not a whole number from 0 to `MAX_SEED`.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise UserError(f"a seed must be a whole number, given {seed!r}")
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"a seed must be from 0 to {MAX_SEED}, given {seed}")
    return int(seed)
