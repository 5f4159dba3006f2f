"""Building blocks of the Wan VAE for one frame, channels last.

The published network is made of causal 3-D convolutions, padded with zeros on the left
of the time axis. On a single frame only the last temporal slice of their kernels meets
anything but zeros, so each is a 2-D convolution here.
"""

from typing import Any

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from anchoredit_jax.arrays import Array, Float
from anchoredit_jax.models.norms import broadcast_last

# Values of the attention matrix of one image that exist at a time: 64 MiB.
ATTENTION_VALUES = 2**24


def conv(
    features: int, size: int, dtype: str, name: str | None = None, **changes: Any
) -> nn.Conv:
    """A `size` x `size` convolution that keeps height and width.

    In float32 the products are float32 too, where the hardware would round them.
    """
    return nn.Conv(
        features,
        (size, size),
        **{"padding": size // 2, **changes},
        dtype=dtype,
        precision="highest" if dtype == "float32" else None,
        name=name,
    )


class ChannelNorm(nn.Module):
    """x / |x| * sqrt(C) * scale, the length taken over channels, in float32."""

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        x32 = x.astype(jnp.float32)
        squared = jnp.sum(x32 * x32, -1, keepdims=True)
        unit = x32 * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))
        return (unit * broadcast_last(scale * channels**0.5, x.ndim)).astype(x.dtype)


class ResidualBlock(nn.Module):
    """Twice norm, SiLU, 3x3 convolution, beside a shortcut (1x1 if widths differ)."""

    features: int
    dtype: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "B h w D"]
    ) -> Float[Array, "B h w {self.features}"]:
        shortcut = x
        if x.shape[-1] != self.features:
            shortcut = conv(self.features, 1, self.dtype, "shortcut")(x)
        x = nn.silu(ChannelNorm(name="norm1")(x))
        x = conv(self.features, 3, self.dtype, "conv1")(x)
        x = nn.silu(ChannelNorm(name="norm2")(x))
        return shortcut + conv(self.features, 3, self.dtype, "conv2")(x)


class Level(nn.Module):
    """The residual blocks of one resolution."""

    features: int
    blocks: int
    dtype: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "B h w D"]
    ) -> Float[Array, "B h w {self.features}"]:
        for i in range(self.blocks):
            x = ResidualBlock(self.features, self.dtype, name=f"block_{i}")(x)
        return x


class Downsample(nn.Module):
    """Half the height and width: zeros on the right and at the bottom, stride 2."""

    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h//2 w//2 D"]:
        sides = ((0, 1), (0, 1))
        return conv(x.shape[-1], 3, self.dtype, "conv", strides=(2, 2), padding=sides)(
            x
        )


class Upsample(nn.Module):
    """Twice the height and width by repetition, then a convolution to half of D."""

    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B 2*h 2*w D//2"]:
        features = x.shape[-1] // 2
        x = einops.repeat(x, "b h w c -> b (h p) (w q) c", p=2, q=2)
        return conv(features, 3, self.dtype, "conv")(x)


class Attention(nn.Module):
    """Attention of one head between all places of an image, beside a shortcut."""

    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        height, dim = x.shape[1], x.shape[3]
        qkv = conv(3 * dim, 1, self.dtype, "qkv")(ChannelNorm(name="norm")(x))
        qkv = einops.rearrange(qkv, "b h w d -> b (h w) d")
        query, key, value = jnp.split(qkv, 3, -1)
        out = attend(query, key, value)
        out = einops.rearrange(out, "b (h w) d -> b h w d", h=height)
        return x + conv(dim, 1, self.dtype, "proj")(out)


def attend(
    query: Float[Array, "B L D"],
    key: Float[Array, "B L D"],
    value: Float[Array, "B L D"],
    at_a_time: int = ATTENTION_VALUES,
) -> Float[Array, "B L D"]:
    """softmax(query key^T / sqrt(D)) value, with the softmax in float32.

    The matrix of L x L weights is made in rows, about `at_a_time` values of it at a
    time; it never exists as a whole unless it is small.
    """
    precision = "highest" if query.dtype == jnp.float32 else None

    def rows(query: Float[Array, "B Q D"]) -> Float[Array, "B Q D"]:
        logits = jnp.einsum(
            "bqd,bkd->bqk",
            query,
            key,
            precision=precision,
            preferred_element_type=jnp.float32,
        )
        weights = nn.softmax(logits * query.shape[-1] ** -0.5).astype(value.dtype)
        return jnp.einsum("bqk,bkd->bqd", weights, value, precision=precision)

    length = query.shape[1]
    block = max(1, at_a_time // length)
    if length <= block:
        return rows(query)
    padded = jnp.pad(query, ((0, 0), (0, -length % block), (0, 0)))
    blocks = einops.rearrange(padded, "b (n q) d -> n b q d", q=block)
    out = einops.rearrange(jax.lax.map(rows, blocks), "n b q d -> b (n q) d")
    return out[:, :length]


class Middle(nn.Module):
    """Residual block, attention, residual block, at the resolution of latents."""

    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w D"]:
        x = ResidualBlock(x.shape[-1], self.dtype, name="block_0")(x)
        x = Attention(self.dtype, name="attention")(x)
        return ResidualBlock(x.shape[-1], self.dtype, name="block_1")(x)
