"""Shapes of a batch, told by the configuration alone: what a plan compiles for."""

import jax
import jax.numpy as jnp

from anchoredit_jax.config import RunConfig


def batch_shapes(
    run: RunConfig, height: int, width: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays of `run`'s largest batches, see `batches.collate`.

    Args:
      height, width: of the images, pixels.
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
