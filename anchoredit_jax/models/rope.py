"""Rotary positions over (frame, row, column), computed, never looked up in a table.

Sessions have no last turn, so a temporal position has no upper bound; the angle of a
large position loses float32 digits if it is formed as one product. `angles` splits the
position in two and reduces the coarse part's step modulo 2 pi in float64 beforehand.
"""

import jax.numpy as jnp
import numpy as np

from anchoredit_jax.arrays import Array, Float, Float32, Real

THETA = 10000.0
_COARSE = 64  # positions per coarse step


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head given to (frame, row, column) (docs/method.md, Positions)."""
    spatial = 2 * (head_dim // 6)
    return head_dim - 2 * spatial, spatial, spatial


def frequencies(dim: int) -> Float[np.ndarray, " half"]:
    """theta^(-2j/dim) for the dim/2 channel pairs of an axis, float64."""
    return THETA ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)


def angles(
    positions: Real[Array | np.ndarray, "*shape"], freqs: Float[np.ndarray, " F"]
) -> Float32[Array, "*shape F"]:
    """positions * freqs modulo full turns, float32, accurate to about 1e-5 radians.

    Args:
      positions: of a magnitude up to about 1e6.
      freqs: float64, radians per unit.
    """
    positions = jnp.asarray(positions, jnp.float32)[..., None]
    coarse = jnp.floor(positions / _COARSE)
    fine = positions - coarse * _COARSE
    step = np.remainder(_COARSE * freqs + np.pi, 2 * np.pi) - np.pi
    shape = (1,) * (positions.ndim - 1) + (-1,)
    step = jnp.asarray(step, jnp.float32).reshape(shape)
    return coarse * step + fine * jnp.asarray(freqs, jnp.float32).reshape(shape)


def rotations(
    positions: Real[Array, "B T"],
    height: int,
    width: int,
    head_dim: int,
    spatial_stride: float = 1.0,
) -> tuple[Float32[Array, "B T L 1 half"], Float32[Array, "B T L 1 half"]]:
    """Cosines and sines of every token of every frame.

    Args:
      positions: temporal positions, stride included, of each sample or (B = 1) of all.
      height, width: tokens per column and row of a frame.
      spatial_stride: distance between neighbouring tokens.

    Returns:
      (cos, sin) of the L = height * width tokens' H / 2 channel pairs.
    """
    frame_dim, row_dim, column_dim = axis_dims(head_dim)
    batch, frames = positions.shape
    grid = (batch, frames, height, width)
    frame = angles(positions, frequencies(frame_dim))[:, :, None, None]
    row = angles(spatial_stride * np.arange(height), frequencies(row_dim))
    column = angles(spatial_stride * np.arange(width), frequencies(column_dim))
    row, column = row[None, None, :, None], column[None, None, None]
    angle = jnp.concatenate(
        [
            jnp.broadcast_to(part, (*grid, part.shape[-1]))
            for part in (frame, row, column)
        ],
        axis=-1,
    ).reshape(batch, frames, height * width, 1, head_dim // 2)
    return jnp.cos(angle), jnp.sin(angle)


def rotate(
    x: Float[Array, "*B N H"],
    cos: Float32[Array, "... 1 half"],
    sin: Float32[Array, "... 1 half"],
) -> Float[Array, "*B N H"]:
    """Rotate neighbouring channel pairs (2j, 2j + 1) of x in float32."""
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack(
        [first * cos - second * sin, first * sin + second * cos], axis=-1
    )
    return turned.reshape(x.shape).astype(x.dtype)
