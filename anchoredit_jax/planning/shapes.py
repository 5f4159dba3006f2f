"""The image shapes that a plan is made of: the square, and the worst other bucket."""

import math

import jax
import jax.numpy as jnp

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.session_buckets import bucket_table
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.splash import BLOCKS, block_sizes
from anchoredit_jax.run_config import RunConfig

SQUARE, WORST = "square", "worst"
BUCKETS = (SQUARE, WORST)


def bucket_size(
    run: RunConfig, bucket: str, chip: str, image: int | None = None
) -> Size | None:
    """(height, width) in pixels of one of `BUCKETS`, None where there is none.

    The worst is the one, but for the square, whose frames the attention kernel works as
    the most tokens. Of these it is one with padding, for which there are copies that a
    frame of whole blocks does not need, and of these the one with the most tokens.

    Args:
      chip: to compile for, a name of `BLOCKS`.
      image: side of the square, pixels; `run.data.size` by default.

    Raises:
      UserError: another bucket, or a table that cannot be.
    """
    if bucket not in BUCKETS:
        raise UserError(f"bucket {bucket!r} is not one of {', '.join(BUCKETS)}")
    side = image or run.data.size
    if bucket == SQUARE:
        return side, side
    sessions = run.data.sessions
    if sessions is None:
        return None
    unit = run.codec.stride * run.model.patch

    def badness(size: Size) -> tuple[int, bool, int]:
        tokens = tokens_of(run, size)
        padded, _, _ = block_sizes(tokens, tokens, BLOCKS[chip])
        return padded, padded > tokens, tokens

    table = bucket_table(side, unit, sessions.buckets)
    return max(
        (size for size in table if size != (side, side)), key=badness, default=None
    )


def tokens_of(run: RunConfig, size: Size) -> int:
    """How many tokens a frame of this size has."""
    unit = run.codec.stride * run.model.patch
    return math.prod(side // unit for side in size)


def batch_shapes(
    run: RunConfig, height: int, width: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays of `run`'s largest batches, see `batches.collate`.

    Args:
      height, width: the sides of the images, pixels.
    """
    frames, stride = run.data.turns + 1, run.codec.stride
    sides = (height // stride, width // stride)
    rows, prompts = run.data.batch, (run.text.length, run.text.dim)
    shapes = {
        "latents": (frames, *sides, run.model.channels),
        "text": (frames - 1, *prompts),
        "null_text": prompts,
        "id": (),
        "frame_valid": (frames,),
        "answers": (frames, *sides),
    }
    return {
        name: jax.ShapeDtypeStruct(
            (rows, *shape), jnp.int32 if name == "id" else jnp.float32
        )
        for name, shape in shapes.items()
    }
