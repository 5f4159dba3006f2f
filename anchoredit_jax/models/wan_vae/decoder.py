"""The decoder: raw latents to pixels, in two parts."""

import jax.numpy as jnp
from flax import linen as nn

from anchoredit_jax.arrays import Array, Float, Float32
from anchoredit_jax.models.wan_vae.config import WanVaeConfig
from anchoredit_jax.models.wan_vae.layers import (
    ChannelNorm,
    Level,
    Middle,
    Upsample,
    conv,
)


class Decoder(nn.Module):
    """The first part holds the attention and works at the resolution of latents; the
    second is local, so it can be computed in tiles."""

    config: WanVaeConfig

    def setup(self) -> None:
        config, dtype = self.config, self.config.dtype
        widths = config.widths[::-1]
        self.post_quant_conv = conv(config.latent_channels, 1, dtype)
        self.conv_in = conv(widths[0], 3, dtype)
        self.middle = Middle(dtype)
        self.up = [Level(width, config.blocks + 1, dtype) for width in widths]
        self.upsample = [Upsample(dtype) for _ in widths[1:]]
        self.norm_out = ChannelNorm()
        self.conv_out = conv(3, 3, dtype)

    def __call__(self, latents: Float[Array, "B h w C"]) -> Float32[Array, "B H W 3"]:
        """The pixels of raw latents, not clipped."""
        return self.to_pixels(self.to_features(latents))

    def to_features(self, latents: Float[Array, "B h w C"]) -> Float[Array, "B h w D"]:
        """The part that sees the whole image."""
        x = self.post_quant_conv(latents.astype(self.config.dtype))
        return self.up[0](self.middle(self.conv_in(x)))

    def to_pixels(self, features: Float[Array, "B h w D"]) -> Float32[Array, "B H W 3"]:
        """The local part."""
        x = features
        for upsample, level in zip(self.upsample, self.up[1:], strict=True):
            x = level(upsample(x))
        x = self.conv_out(nn.silu(self.norm_out(x)))
        return x.astype(jnp.float32)
