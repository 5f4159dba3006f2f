"""Images to normalised latents and back, with the Wan VAE."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.norms import broadcast_last
from anchoredit_jax.models.wan_vae.config import WanVaeConfig
from anchoredit_jax.models.wan_vae.decoder import Decoder
from anchoredit_jax.models.wan_vae.encoder import Encoder
from anchoredit_jax.models.wan_vae.tiling import decoder_halo, encoder_halo, in_tiles

Array = np.ndarray | jax.Array

TILE = 256  # pixels


def init_params(config: WanVaeConfig, key: jax.Array) -> dict[str, Any]:
    """Random parameters: {"encoder": ..., "decoder": ...}, float32."""
    side = config.stride
    keys = jax.random.split(key)
    images = jnp.zeros((1, side, side, 3))
    latents = jnp.zeros((1, 1, 1, config.latent_channels))
    return {
        "encoder": Encoder(config).init(keys[0], images)["params"],
        "decoder": Decoder(config).init(keys[1], latents)["params"],
    }


def encode(
    params: dict[str, Any], images: jax.Array, config: WanVaeConfig, tile: int = TILE
) -> jax.Array:
    """The mean of the posterior, normalised: no draw, one image has one latent.

    Args:
      params: as `init_params` makes them.
      images: [B, H, W, 3] in [-1, 1], sides multiples of the stride.
      tile: see `WanCodec`.

    Returns:
      float32 [B, h, w, C].
    """
    run = _network(Encoder(config), params["encoder"])
    mean, std = _statistics(config)

    def encode_some(images):
        features = in_tiles(
            functools.partial(run, method="to_features"),
            images.astype(jnp.float32),
            tile=tile // config.stride,
            halo=encoder_halo(config),
            unit_in=config.stride,
            unit_out=1,
        )
        moments = run(features, method="to_moments")
        return (moments[..., : config.latent_channels] - mean) / std

    return _few_at_a_time(encode_some, images, images.shape[1] * images.shape[2], tile)


def decode(
    params: dict[str, Any], latents: jax.Array, config: WanVaeConfig, tile: int = TILE
) -> jax.Array:
    """Normalised latents [B, h, w, C] -> float32 [B, H, W, 3], not clipped.

    The arguments are those of `encode`.
    """
    run = _network(Decoder(config), params["decoder"])
    mean, std = _statistics(config)

    def decode_some(latents):
        raw = latents.astype(jnp.float32) * std + mean
        features = run(raw, method="to_features")
        return in_tiles(
            functools.partial(run, method="to_pixels"),
            features,
            tile=tile // config.stride,
            halo=decoder_halo(config),
            unit_in=1,
            unit_out=config.stride,
        )

    pixels = latents.shape[1] * latents.shape[2] * config.stride**2
    return _few_at_a_time(decode_some, latents, pixels, tile)


class WanCodec:
    """The Wan 2.1 VAE on still images, as a `Codec`.

    A still image is a one-frame video: every image is coded alone, whatever the leading
    axes are, and the network's temporal convolutions are never used. A video whose
    frames depend on each other cannot be coded with it.

    Tiling: an image larger than a tile and its halo is computed tile by tile. Tiled and
    untiled results are equal at every pixel up to the rounding of floats (see
    `wan_vae/tiling.py`); there are no seams. Beside one window, only features at the
    resolution of latents are held. Small images are taken together, as many as have the
    pixels of one tile.

    Attributes:
      params: the parameters, a pytree. A caller that compiles the codec into a program
        of its own had better call `encode` and `decode` of this package, and pass them.
      config: the geometry.
      stride, channels: pixels of a latent's side, and channels of a latent.
      tile: side of a tile in pixels, 0 for no tiles.
    """

    def __init__(
        self, params: dict[str, Any], config: WanVaeConfig, tile: int = TILE
    ) -> None:
        if tile < 0 or tile % config.stride:
            raise UserError(
                f"codec.tile must be a multiple of {config.stride} pixels, or 0 for no "
                f"tiles, got {tile}"
            )
        self.params = params
        self.config = config
        self.stride = config.stride
        self.channels = config.latent_channels
        self.tile = tile

    def encode(self, images: Array) -> Array:
        """Float images [..., H, W, 3] in [-1, 1] -> float32 latents [..., h, w, C].

        Computed in float32, whatever the decoder's dtype. A numpy array gives a numpy
        array, a jax array, traced or not, a jax array.

        Raises:
          UserError: bytes, another number of channels, or sides that are no multiple of
            the stride.
        """
        height, width, channels = images.shape[-3:]
        if channels != 3 or not jnp.issubdtype(images.dtype, jnp.floating):
            raise UserError(
                "expected float images [..., H, W, 3] in [-1, 1] (`from_uint8` makes "
                f"them), got {images.dtype} {tuple(images.shape)}"
            )
        if height % self.stride or width % self.stride:
            near = [max(n // self.stride, 1) * self.stride for n in (height, width)]
            raise UserError(
                f"image of {height} x {width} pixels: both sides must be multiples of "
                f"{self.stride}; the nearest smaller size is {near[0]} x {near[1]}"
            )
        return self._run(_encode, images)

    def decode(self, latents: Array) -> Array:
        """Latents [..., h, w, C] -> float32 images [..., H, W, 3], cut to [-1, 1].

        Raises:
          UserError: another number of channels.
        """
        if latents.shape[-1] != self.channels:
            raise UserError(
                f"expected latents [..., h, w, {self.channels}], got "
                f"{tuple(latents.shape)}"
            )
        return self._run(_decode, latents)

    def _run(self, program: Callable, x: Array) -> Array:
        leading, rest = x.shape[:-3], x.shape[-3:]
        flat = x.reshape(-1, *rest)
        # Explicit transfers, as implicit ones are errors in a training loop.
        given = flat if isinstance(x, jax.Array) else jax.device_put(flat)
        out = program(self.params, given, self.config, self.tile)
        out = out.reshape(*leading, *out.shape[1:])
        return out if isinstance(x, jax.Array) else jax.device_get(out)


_encode = jax.jit(encode, static_argnames=("config", "tile"))


@functools.partial(jax.jit, static_argnames=("config", "tile"))
def _decode(params, latents, config, tile):
    return decode(params, latents, config, tile).clip(-1.0, 1.0)


def _network(module: nn.Module, params: dict[str, Any]) -> Callable[..., jax.Array]:
    """The module as a function of its arrays, and of `method`."""
    return functools.partial(module.apply, {"params": params})  # pyright: ignore[reportReturnType]


def _statistics(config: WanVaeConfig) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of raw latents, [1, 1, 1, C]."""
    mean, std = (
        jnp.asarray(values, jnp.float32) for values in (config.mean, config.std)
    )
    return broadcast_last(mean, 4), broadcast_last(std, 4)


def _few_at_a_time(
    function: Callable, x: jax.Array, pixels: int, tile: int
) -> jax.Array:
    """function(x), for as many rows of `x` at a time as have the pixels of a tile."""
    count, together = x.shape[0], max(1, tile**2 // pixels)
    if not tile or count <= together:
        return function(x)
    batch_size = together if together > 1 else None
    return jax.lax.map(lambda one: function(one[None])[0], x, batch_size=batch_size)
