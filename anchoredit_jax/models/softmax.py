"""Softmax attention with a derivative of its own.

The weights are by far the largest arrays here. Each is one exponential, kept undivided
for the backward pass: the sums divide the output, which has H numbers a query and not
one a key. The derivative is first-order and reverse-mode only.
"""

import einops
import jax
import jax.numpy as jnp


@jax.custom_vjp
def softmax_attention(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """Attention with a float32 softmax.

    Args:
      query: [B, T, L, N, H].
      key, value: [B, F, L, N, H].
      mask: bool [B or 1, T or 1, F], or None where every frame is seen.

    Returns:
      [B, T, L, N, H] in the dtype of `value`.
    """
    return _forward(query, key, value, mask)[0]


def _forward(query, key, value, mask):
    batch, frames, tokens, heads, width = query.shape
    flat = _heads_first(query), _heads_first(key), _heads_first(value)
    query, key, value = flat
    logits = _product(query, _turned(key), jnp.float32)
    if mask is not None:
        of_frames = (batch, heads, frames, tokens, mask.shape[2], -1)
        shown = mask[:, None, :, None, :, None]
        hidden = jnp.where(shown, logits.reshape(of_frames), jnp.float32(-1e30))
        logits = hidden.reshape(logits.shape)
    largest = jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp((logits - largest) * jnp.float32(width**-0.5))
    total = jnp.sum(weights, axis=-1)[..., None]
    weights = weights.astype(value.dtype)
    out = (_product(weights, value, jnp.float32) / total).astype(value.dtype)
    return _frames_first(out, frames), (*flat, weights, total, out)


def _backward(kept, gradient):
    query, key, value, weights, total, out = kept
    frames, tokens = gradient.shape[1:3]
    scaled = _heads_first(gradient).astype(jnp.float32) / total
    inner = jnp.sum(scaled * out.astype(jnp.float32), -1, keepdims=True)
    scaled = scaled.astype(value.dtype)
    # The small factor of a product is turned, never the weights.
    to_value = _turned(_product(_turned(scaled), weights))
    to_weights = _product(scaled, _turned(value), jnp.float32)
    scale = jnp.float32(query.shape[-1] ** -0.5)
    to_logits = weights.astype(jnp.float32) * (to_weights - inner) * scale
    to_logits = to_logits.astype(query.dtype)
    to_query = _product(to_logits, key)
    to_key = _turned(_product(_turned(query), to_logits))
    seen = key.shape[2] // tokens
    return (
        _frames_first(to_query, frames),
        _frames_first(to_key, seen),
        _frames_first(to_value, seen),
        None,
    )


def _product(left, right, dtype=None):
    return jnp.matmul(left, right, preferred_element_type=dtype)


def _turned(x):
    return jnp.swapaxes(x, -1, -2)


def _heads_first(x):
    """[B, T, L, N, H] -> [B, N, T * L, H]: matrix products of whole rows."""
    return einops.rearrange(x, "b t l n h -> b n (t l) h")


def _frames_first(x, frames):
    return einops.rearrange(x, "b n (t l) h -> b t l n h", t=frames)


softmax_attention.defvjp(_forward, _backward)
