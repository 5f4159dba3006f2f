"""Images to latents and back: the invertible patch codec of toy size.

See docs/method.md, Codec.

A codec is any object with `stride`, `channels`, `encode` and `decode`; normalisation
of latents lives inside it and nowhere else. `encoders.make_codec` picks one by name:
the Wan VAE (`models/wan_vae`) takes the same place at full size.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import einops
import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import Bounded, choose_kind, geometry, result, way
from anchoredit_jax.trees import DTYPES

Array = np.ndarray | jax.Array

# Latents of natural images in [-1, 1] get a standard deviation of about one.
PATCH_MEAN = 0.0
PATCH_STD = 0.5
POSITION_CHANNELS = 4
WAN_STRIDE = 8  # pixels of a latent's side, of the Wan VAE


@dataclasses.dataclass(frozen=True)
class PatchSettings(Bounded, place="codec.patch"):
    """The settings of the patch codec.

    Attributes:
      stride: side of the square of pixels that becomes one latent.
    """

    stride: int = geometry(2, within="[1, 64]")


@dataclasses.dataclass(frozen=True)
class WanVaeSettings(Bounded, place="codec.wan_vae"):
    """The settings of the Wan VAE.

    Attributes:
      weights: path of its weights, the original file or that of diffusers.
      size: "wan", or "tiny" for tests, which may go without weights.
      tile: side in pixels of the tiles that large images are computed in, 0 for none.
      dtype: compute dtype of decoding; encoding is always float32.
    """

    weights: str | None = way(None)
    size: str = geometry("wan", within=("wan", "tiny"))
    tile: int = way(256, within="[0, 65536]")
    dtype: str = result("float32", within=DTYPES)


@dataclasses.dataclass(frozen=True)
class CodecConfig:
    """The choice of a run's codec, with its settings.

    Attributes:
      kind: "patch", the invertible space-to-depth codec, or "wan_vae".
      patch, wan_vae: settings of that kind, None of the other.
    """

    kind: str = geometry("patch")
    patch: PatchSettings | None = None
    wan_vae: WanVaeSettings | None = None

    def __post_init__(self):
        choose_kind(self, "codec")

    @property
    def stride(self) -> int:
        """Side of the square of pixels that becomes one latent."""
        return WAN_STRIDE if self.patch is None else self.patch.stride


@runtime_checkable
class Codec(Protocol):
    """A codec as sessions, data and evaluation use it."""

    stride: int
    channels: int

    def encode(self, images: Array) -> Array:
        """[..., H, W, 3] in [-1, 1] -> normalised latents [..., h, w, channels]."""
        ...

    def decode(self, latents: Array) -> Array:
        """Normalised latents [..., h, w, channels] -> [..., H, W, 3] in [-1, 1]."""
        ...


class PatchCodec:
    """Space to depth: a square of `stride` pixels is one latent of 3 * stride**2 + 4.

    Loses nothing, has no weights, and works on numpy and jax arrays alike, traced ones
    included. Channels are ordered (row in the square, column, RGB), then four that say
    where in the image the latent lies. RoPE is relative, so a transformer alone cannot
    tell the top left corner; latents of the Wan VAE can, through the zero padding of
    its convolutions, and these channels stand for that. Decoding leaves them out.
    """

    def __init__(
        self, stride: int = 2, mean: float = PATCH_MEAN, std: float = PATCH_STD
    ) -> None:
        self.stride = stride
        self.channels = 3 * stride**2 + POSITION_CHANNELS
        self.mean = mean
        self.std = std

    def encode(self, images: Array) -> Array:
        """Float images [..., H, W, 3] in [-1, 1] -> latents [..., H/s, W/s, channels].

        Raises:
          UserError: H or W is no multiple of the stride.
        """
        height, width = images.shape[-3:-1]
        if height % self.stride or width % self.stride:
            near = [max(n // self.stride, 1) * self.stride for n in (height, width)]
            raise UserError(
                f"image of {height} x {width} pixels: both sides must be multiples of "
                f"{self.stride}; the nearest smaller size is {near[0]} x {near[1]}"
            )
        latents = einops.rearrange(
            images,
            "... (h row) (w column) c -> ... h w (row column c)",
            row=self.stride,
            column=self.stride,
        )
        latents = (latents - self.mean) / self.std
        xp = jnp if isinstance(latents, jax.Array) else np
        place = _positions(*latents.shape[-3:-1]).astype(latents.dtype)
        place = xp.broadcast_to(place, (*latents.shape[:-1], POSITION_CHANNELS))
        return xp.concatenate([latents, place], axis=-1)

    def decode(self, latents: Array) -> Array:
        """Latents [..., h, w, channels] -> images [..., h s, w s, 3], in [-1, 1]."""
        latents = latents[..., : 3 * self.stride**2]
        images = einops.rearrange(
            latents * self.std + self.mean,
            "... h w (row column c) -> ... (h row) (w column) c",
            row=self.stride,
            column=self.stride,
        )
        return images.clip(-1.0, 1.0)


def _positions(height: int, width: int) -> np.ndarray:
    """Row and column of every latent and their cosines, unit variance, [h, w, 4]."""
    row, column = (2 * (np.arange(n) + 0.5) / n - 1 for n in (height, width))
    row, column = np.meshgrid(row, column, indexing="ij")
    linear = np.sqrt(3) * np.stack([row, column], -1)
    cosine = np.sqrt(2) * np.cos(np.pi * np.stack([row, column], -1))
    return np.concatenate([linear, cosine], -1)


def from_uint8(images: Array) -> Array:
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1.0


def decode_pixels(
    decode: Callable[[np.ndarray], Array], latents: np.ndarray
) -> np.ndarray:
    """Latents [..., h, w, C] -> uint8 [..., H, W, 3], of finite values only.

    Args:
      decode: of a codec; it cuts infinite values to [-1, 1], so that its result alone
        does not tell.

    Raises:
      UserError: latents or pixels are not finite; they would be black or white.
    """
    images = None
    if np.isfinite(latents).all():
        images = np.asarray(decode(latents))
    if images is None or not np.isfinite(images).all():
        raise UserError(
            "the values of a picture are not finite (NaN or infinite): it is not shown"
        )
    return np.asarray(to_uint8(images))


def to_uint8(images: Array) -> Array:
    """float [-1, 1] -> uint8 [0, 255], rounded to nearest; values outside are cut."""
    xp = jnp if isinstance(images, jax.Array) else np
    return xp.round((images.clip(-1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)
