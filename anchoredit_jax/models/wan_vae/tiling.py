"""A local function of an image, computed window by window, equal to the whole.

What the VAE does near full resolution is local: a pixel depends on latents at most
`decoder_halo` away, a feature on pixels at most `encoder_halo` latents away, and its
norms act on each place alone. So each tile is cut from a window that reaches a halo
further on every side, and the halo is thrown away: there is nothing to blend. At the
border of the image windows begin exactly there, since zero padding acts in every layer
and not only on the input. All windows have one size: one program serves them all.

Tiled and untiled results are equal up to the rounding of floats, at every pixel. The
attention in the middle sees the whole image and stays outside of the tiles.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from anchoredit_jax.models.wan_vae.config import WanVaeConfig


def encoder_halo(config: WanVaeConfig) -> int:
    """How far a feature at the resolution of latents looks, in latents."""
    reach = 0
    for _ in range(len(config.multipliers) - 1):
        # Stride 2 and a zero on the right: output i sees inputs 2 i to 2 i + 2.
        reach = 2 * reach + 1 + 2 * config.blocks
    return -(-(reach + 1) // config.stride)


def decoder_halo(config: WanVaeConfig) -> int:
    """How far a pixel looks, in latents."""
    reach = 1
    for _ in range(len(config.multipliers) - 1):
        # The level's blocks and its up-sampler's convolution, at twice the resolution.
        reach = -(-(reach + 2 * (config.blocks + 1) + 1) // 2)
    return reach


class Axis(NamedTuple):
    """How one side of an image is cut; everything in latents."""

    size: int
    tile: int
    window: int
    halo: int

    @property
    def count(self) -> int:
        return -(-self.size // self.tile)

    def starts(self, index: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The first places of a tile and its window; the last tiles may overlap."""
        tile = jnp.minimum(index * self.tile, self.size - self.tile)
        return tile, jnp.clip(tile - self.halo, 0, self.size - self.window)


def cut(size: int, tile: int, halo: int) -> Axis:
    """Tiles of at most `tile`; one for the whole side where a window would hold it."""
    window = tile + 2 * halo
    if size <= window:
        return Axis(size, size, size, 0)
    return Axis(size, tile, window, halo)


def in_tiles(
    local: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    *,
    tile: int,
    halo: int,
    unit_in: int,
    unit_out: int,
) -> jax.Array:
    """`local(x)`, with the memory of one window.

    Args:
      local: [B, h unit_in, w unit_in, C] -> [B, h unit_out, w unit_out, D].
      x: its argument for the whole image.
      tile: side of a tile in latents; 0 for the whole image at once.
      halo: in latents, how far outputs of `local` depend on its inputs.
      unit_in, unit_out: places per latent along a side, before and after.

    Returns:
      [B, h unit_out, w unit_out, D].
    """
    batch, height, width, channels = x.shape
    rows, columns = (
        cut(n // unit_in, tile or n // unit_in, halo) for n in (height, width)
    )
    if rows.count == columns.count == 1:
        return local(x)
    window = (batch, rows.window * unit_in, columns.window * unit_in, channels)
    piece = jax.eval_shape(local, jax.ShapeDtypeStruct(window, x.dtype))
    kept = (batch, rows.tile * unit_out, columns.tile * unit_out, piece.shape[-1])
    whole = (batch, rows.size * unit_out, columns.size * unit_out, piece.shape[-1])

    def one_tile(index, out):
        row, window_row = rows.starts(index // columns.count)
        column, window_column = columns.starts(index % columns.count)
        from_ = (0, window_row * unit_in, window_column * unit_in, 0)
        done = local(jax.lax.dynamic_slice(x, from_, window))
        inside = (row - window_row) * unit_out, (column - window_column) * unit_out
        done = jax.lax.dynamic_slice(done, (0, *inside, 0), kept)
        to = (0, row * unit_out, column * unit_out, 0)
        return jax.lax.dynamic_update_slice(out, done, to)

    out = jnp.zeros(whole, piece.dtype)
    return jax.lax.fori_loop(0, rows.count * columns.count, one_tile, out)
