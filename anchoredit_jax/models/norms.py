"""Norms and modulation in float32, with derivatives written for whole rows.

Plain autodiff is right and slow on CPUs: XLA recomputes a row reduction inside every
fusion that reads it, and sums products of two arrays fifteen times slower than it
contracts them. So there normalised rows are kept behind an optimisation barrier, and
sums of products are contractions. No result changes: `tests/models/test_norms.py`
compares with autodiff.
"""

from typing import TypeVar

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from anchoredit_jax.arrays import Array, Float, Float32
from anchoredit_jax.models.derivatives import differentiable

T = TypeVar("T")


def normalise(
    x: Float32[Array, "*shape"], eps: float, centred: bool
) -> Float32[Array, "*shape"]:
    """x / rms(x) over the last axis, of x - mean(x) where `centred`; float32."""

    def forward(x):
        if centred:
            x = x - jnp.mean(x, -1, keepdims=True)
        inverse = lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps)
        normed, inverse = _kept((x * inverse, inverse))
        return normed, (normed, inverse)

    def change(kept, moved):  # a symmetric matrix: it is its own transpose
        normed, inverse = kept
        along = sum_of_products(moved, normed, inverse.shape) / normed.shape[-1]
        inner = moved - normed * along
        if centred:
            inner = inner - _kept(jnp.mean(moved, -1, keepdims=True))
        return inner * inverse

    return differentiable(forward, change, lambda *x: (change(*x),), x)


def scaled(
    x: Float32[Array, "*shape"], scale: Float32[Array, "*some"]
) -> Float32[Array, "*shape"]:
    """x * scale, float32, where `scale` has the rank of x and 1 where it repeats."""

    def forward(x, scale):
        return x * scale, (x, scale)

    def tangent(kept, to_x, to_scale):
        x, scale = kept
        return to_x * scale + x * to_scale

    def backward(kept, gradient):
        x, scale = kept
        gradient = _kept(gradient)
        return gradient * scale, sum_of_products(gradient, x, scale.shape)

    return differentiable(forward, tangent, backward, x, scale)


def _kept(arrays: T) -> T:
    """Computed once on a CPU; fused into its readers elsewhere, which saves memory."""
    return lax.platform_dependent(
        arrays, cpu=lax.optimization_barrier, default=lambda x: x
    )


def sum_of_products(
    x: Float32[Array, "*shape"], y: Float32[Array, "*shape"], shape: tuple[int, ...]
) -> Float32[Array, "..."]:
    """sum(x * y) over the axes where `shape` is 1, float32 throughout."""
    axes = "abcdefgh"[: x.ndim]
    kept = "".join(axis for axis, size in zip(axes, shape, strict=True) if size > 1)
    total = jnp.einsum(f"{axes},{axes}->{kept}", x, y, precision=lax.Precision.HIGHEST)
    return total.reshape(shape)


def modulated_norm(
    x: Float[Array, "*B L D"],
    scale: Float32[Array, "*B 1 D"],
    shift: Float32[Array, "*B 1 D"],
    eps: float,
) -> Float32[Array, "*B L D"]:
    """LayerNorm(x) * (1 + scale) + shift in float32."""
    return scaled(normalise(x.astype(jnp.float32), eps, True), 1.0 + scale) + shift


def gated_residual(
    x: Float[Array, "*B L D"],
    gate: Float32[Array, "*B 1 D"],
    update: Float[Array, "*B L D"],
) -> Float[Array, "*B L D"]:
    """x + gate * update, computed in float32, in the dtype of x."""
    out = x.astype(jnp.float32) + scaled(update.astype(jnp.float32), gate)
    return out.astype(x.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) * scale over the last axis, in float32 (queries and keys, width D)."""

    eps: float

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        normed = normalise(x.astype(jnp.float32), self.eps, False)
        return scaled(normed, _parameter(scale, x.ndim)).astype(x.dtype)


class AffineLayerNorm(nn.Module):
    """LayerNorm with learned scale and bias, in float32 (before cross-attention)."""

    eps: float

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        normed = normalise(x.astype(jnp.float32), self.eps, True)
        out = scaled(normed, _parameter(scale, x.ndim)) + _parameter(bias, x.ndim)
        return out.astype(x.dtype)


def _parameter(vector: Float[Array, " D"], ndim: int) -> Float32[Array, "*ones D"]:
    return broadcast_last(vector.astype(jnp.float32), ndim)


def broadcast_last(vector: Float[Array, " D"], ndim: int) -> Float[Array, "*ones D"]:
    """[D] as [1, .., D]: rank promotion is an error in this project's tests."""
    return vector.reshape((1,) * (ndim - 1) + (-1,))
