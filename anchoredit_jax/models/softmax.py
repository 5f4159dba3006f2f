"""Softmax attention with a derivative of its own.

JAX's softmax passes over the weights many times, and keeps several arrays of their size
for the backward pass. Here a weight is one exponential, kept as it is: sums divide the
output, a thousand times smaller, and the backward pass reads the weights once.
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def softmax_attention(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """Attention with a float32 softmax.

    Args:
      query: [B, T, L, N, H].
      key, value: [B, F, M, N, H].
      mask: bool [B or 1, T or 1, F], or None where every frame is seen.

    Returns:
      [B, T, L, N, H] in the dtype of `value`.
    """
    return _forward(query, key, value, mask)[0]


def _forward(query, key, value, mask):
    logits = jnp.einsum(
        "btlnh,bfmnh->bntlfm", query, key, preferred_element_type=jnp.float32
    )
    if mask is not None:
        shown = mask[:, None, :, None, :, None]
        logits = jnp.where(shown, logits, jnp.float32(-1e30))
    largest = jnp.max(logits, axis=(-2, -1), keepdims=True)
    scale = jnp.float32(query.shape[-1] ** -0.5)
    weights = jnp.exp((logits - largest) * scale)
    total = jnp.sum(weights, axis=(-2, -1))
    weights = weights.astype(value.dtype)
    out = jnp.einsum(
        "bntlfm,bfmnh->btlnh", weights, value, preferred_element_type=jnp.float32
    )
    total = jnp.moveaxis(total, 1, -1)[..., None]  # [B, T, L, N, 1]
    out = (out / total).astype(value.dtype)
    return out, (query, key, value, weights, total, out)


def _backward(kept, gradient):
    query, key, value, weights, total, out = kept
    scaled = gradient.astype(jnp.float32) / total
    inner = jnp.sum(scaled * out.astype(jnp.float32), -1)
    scaled = scaled.astype(value.dtype)
    to_value = jnp.einsum("bntlfm,btlnh->bfmnh", weights, scaled)
    to_weights = jnp.einsum(
        "btlnh,bfmnh->bntlfm", scaled, value, preferred_element_type=jnp.float32
    )
    inner = jnp.moveaxis(inner, -1, 1)[..., None, None]
    scale = jnp.float32(query.shape[-1] ** -0.5)
    to_logits = weights.astype(jnp.float32) * (to_weights - inner) * scale
    to_logits = to_logits.astype(query.dtype)
    to_query = jnp.einsum("bntlfm,bfmnh->btlnh", to_logits, key)
    to_key = jnp.einsum("bntlfm,btlnh->bfmnh", to_logits, query)
    return to_query, to_key, to_value, None


softmax_attention.defvjp(_forward, _backward)
