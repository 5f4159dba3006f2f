"""Norms and modulation in float32, with derivatives that keep the normalised value.

XLA's CPU code recomputes a row reduction inside every fusion that reads it; in the
backward pass of LayerNorm + modulation that costs several times the matrix products.
The custom derivative stores the normalised rows behind an optimisation barrier instead.
It changes no result: `tests/models/test_norms.py` compares with plain autodiff.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


def layer_norm(x: jax.Array, eps: float) -> jax.Array:
    """Zero mean and unit variance over the last axis, no affine part, float32 out."""
    x = x.astype(jnp.float32)
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + eps)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def modulated_norm(
    x: jax.Array, scale: jax.Array, shift: jax.Array, eps: float
) -> jax.Array:
    """layer_norm(x) * (1 + scale) + shift, float32.

    Args:
      x: [B, T, L, D].
      scale, shift: float32 [B, T, 1, D].
    """
    return layer_norm(x, eps) * (1.0 + scale) + shift


def _modulated_norm_forward(x, scale, shift, eps):
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, -1, keepdims=True)
    inverse = lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + eps)
    normed, inverse = lax.optimization_barrier((centred * inverse, inverse))
    like = jnp.zeros((0,), x.dtype)
    return normed * (1.0 + scale) + shift, (normed, inverse, scale, like)


def _modulated_norm_backward(eps, saved, grad):
    normed, inverse, scale, like = saved
    inner = grad * (1.0 + scale)
    mean = jnp.mean(inner, -1, keepdims=True)
    along = jnp.mean(inner * normed, -1, keepdims=True)
    mean, along = lax.optimization_barrier((mean, along))
    grad_x = (inner - mean - normed * along) * inverse
    grad_scale = jnp.sum(grad * normed, -2, keepdims=True)
    grad_shift = jnp.sum(grad, -2, keepdims=True)
    return grad_x.astype(like.dtype), grad_scale, grad_shift


modulated_norm.defvjp(_modulated_norm_forward, _modulated_norm_backward)


@jax.custom_vjp
def gated_residual(x: jax.Array, gate: jax.Array, update: jax.Array) -> jax.Array:
    """x + gate * update in float32; x, update [B, T, L, D], gate f32 [B, T, 1, D]."""
    return _gated_residual_forward(x, gate, update)[0]


def _gated_residual_forward(x, gate, update):
    out = x.astype(jnp.float32) + gate * update.astype(jnp.float32)
    return out.astype(x.dtype), (gate, update)


def _gated_residual_backward(saved, grad):
    gate, update = saved
    grad = lax.optimization_barrier(grad)
    grad32 = grad.astype(jnp.float32)
    grad_gate = jnp.sum(grad32 * update.astype(jnp.float32), -2, keepdims=True)
    return grad, grad_gate, (gate * grad32).astype(update.dtype)


gated_residual.defvjp(_gated_residual_forward, _gated_residual_backward)


class RMSNorm(nn.Module):
    """x / rms(x) * scale over the last axis, in float32 (queries and keys, width D)."""

    eps: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        inverse = lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + self.eps)
        scale = broadcast_last(scale.astype(jnp.float32), x.ndim)
        return (x32 * inverse * scale).astype(x.dtype)


class AffineLayerNorm(nn.Module):
    """LayerNorm with learned scale and bias, in float32 (before cross-attention)."""

    eps: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        normed = layer_norm(x, self.eps) * broadcast_last(scale, x.ndim)
        return (normed + broadcast_last(bias, x.ndim)).astype(x.dtype)


def broadcast_last(vector: jax.Array, ndim: int) -> jax.Array:
    """[D] as [1, .., D]: rank promotion is an error in this project's tests."""
    return vector.reshape((1,) * (ndim - 1) + (-1,))
