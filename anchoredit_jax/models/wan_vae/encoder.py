"""The encoder: pixels to the moments of latents, in two parts."""

import jax.numpy as jnp
from flax import linen as nn

from anchoredit_jax.arrays import Array, Float, Float32
from anchoredit_jax.models.wan_vae.config import WanVaeConfig
from anchoredit_jax.models.wan_vae.layers import (
    ChannelNorm,
    Downsample,
    Level,
    Middle,
    conv,
)


class Encoder(nn.Module):
    """Always float32. The first part is local, so it can be computed in tiles; the
    second holds the attention and works at the resolution of latents."""

    config: WanVaeConfig

    def setup(self) -> None:
        config, dtype = self.config, "float32"
        self.conv_in = conv(config.dim, 3, dtype)
        self.down = [Level(width, config.blocks, dtype) for width in config.widths]
        self.downsample = [Downsample(dtype) for _ in config.widths[1:]]
        self.middle = Middle(dtype)
        self.norm_out = ChannelNorm()
        self.conv_out = conv(2 * config.latent_channels, 3, dtype)
        self.quant_conv = conv(2 * config.latent_channels, 1, dtype)

    def __call__(self, images: Float[Array, "B H W 3"]) -> Float32[Array, "B h w X"]:
        """The raw moments of an image: mean, then log variance."""
        return self.to_moments(self.to_features(images))

    def to_features(self, images: Float[Array, "B H W 3"]) -> Float32[Array, "B h w D"]:
        """The local part."""
        x = self.conv_in(images.astype(jnp.float32))
        for level, downsample in zip(self.down[:-1], self.downsample, strict=True):
            x = downsample(level(x))
        return x

    def to_moments(
        self, features: Float[Array, "B h w D"]
    ) -> Float32[Array, "B h w X"]:
        """The part that sees the whole image."""
        x = self.middle(self.down[-1](features))
        return self.quant_conv(self.conv_out(nn.silu(self.norm_out(x))))
