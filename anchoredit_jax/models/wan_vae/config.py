"""Sizes of the Wan 2.1 VAE and the statistics of its latents."""

import dataclasses
from typing import Any

from anchoredit_jax.errors import UserError

# Mean and standard deviation of each latent channel, published with Wan 2.1.
WAN_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip

DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class WanVaeConfig:
    """The geometry of the VAE (docs/method.md, Codec).

    Attributes:
      dim: channels at full resolution.
      latent_channels: C.
      multipliers: channels of each level in units of `dim`, from full resolution down;
        a level has half the resolution of the one before.
      blocks: residual blocks of a level in the encoder; the decoder has one more.
      temporal: which down-samplers of the published network also halve time. A still
        image never passes those convolutions; their weights are only carried along.
      mean, std: of each channel of the raw latents; normalised ones have 0 and 1.
      dtype: compute dtype of the decoder. The encoder is always float32, and so are
        parameters, norms and softmax.
    """

    dim: int = 96
    latent_channels: int = 16
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    temporal: tuple[bool, ...] = (False, True, True)
    mean: tuple[float, ...] = WAN_MEAN
    std: tuple[float, ...] = WAN_STD
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if len(self.temporal) != len(self.multipliers) - 1:
            raise UserError(
                f"vae.temporal needs one entry per down-sampler, "
                f"{len(self.multipliers) - 1}; got {len(self.temporal)}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.latent_channels:
                raise UserError(
                    f"vae.{name} needs one number per latent channel, "
                    f"{self.latent_channels}; got {len(values)}"
                )
        if min(self.std) <= 0:
            raise UserError(f"vae.std must be positive, got {min(self.std)}")
        if self.dtype not in DTYPES:
            raise UserError(f"vae.dtype must be one of {DTYPES}, got {self.dtype!r}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, from full resolution down."""
        return tuple(self.dim * multiplier for multiplier in self.multipliers)

    @property
    def stride(self) -> int:
        """Side of the square of pixels that becomes one latent."""
        return 2 ** (len(self.multipliers) - 1)


SIZES: dict[str, dict] = {
    "wan": dict(),
    "tiny": dict(dim=8),  # for tests and laptops
}


def make_vae_config(size: str, **overrides: Any) -> WanVaeConfig:
    """The VAE of that name, with single fields replaced.

    Raises:
      UserError: for an unknown size.
    """
    if size not in SIZES:
        raise UserError(f"unknown VAE size {size!r}; known: {', '.join(SIZES)}")
    return WanVaeConfig(**{**SIZES[size], **overrides})
