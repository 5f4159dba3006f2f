"""Softmax attention with a derivative of its own.

The weights, a number per query and key, are by far the largest arrays here. They are
never whole: queries are taken in blocks, and the backward pass makes a block's weights
again from the logarithm of their sum instead of keeping them. The derivative is
first-order and reverse-mode only.

Letters: B batch, N heads, H head dim, L and M tokens of a frame of queries and of keys
(they differ where a device has some queries of a frame), Q query tokens and K key
tokens of some frames.
"""

import functools
from typing import NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anchoredit_jax.models.norms import sum_of_products

BLOCK = 2**21  # weights: 8 MiB in float32, what the caches of a CPU hold
LEAST_ROWS = 64  # of a block: matrix products of fewer are slow


class Group(NamedTuple):
    """Query frames `start` to `stop` attend to the frames in `keys`."""

    start: int
    stop: int
    keys: tuple[int, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def softmax_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    masks: tuple[jax.Array | None, ...],
    groups: tuple[Group, ...],
) -> jax.Array:
    """Attention with a float32 softmax, one group of query frames after the other.

    Args:
      query: [B, T, L, N, H].
      key, value: [B, F, M, N, H].
      masks: of each group, bool [B or 1, its frames, its keys], or None where all of
        its keys are seen.
      groups: all T frames, in order.

    Returns:
      [B, T, L, N, H] in the dtype of `value`.
    """
    return _forward(query, key, value, masks, groups)[0]


def _forward(query, key, value, masks, groups):
    query, key, value = map(_heads_first, (query, key, value))
    parts = []
    for group, mask in zip(groups, masks, strict=True):
        rows = _merged(query[:, :, group.start : group.stop])
        keys, values = (_merged(frames_of(x, group.keys, 2)) for x in (key, value))
        block = functools.partial(_forward_block, keys, values)
        count = _count(rows, keys)
        mask = _of_tokens(mask, rows, group)
        parts.append(_scan_rows(block, (), (rows, mask), count)[1])
    out, log_sum = (jnp.concatenate(x, 2) for x in zip(*parts, strict=True))
    kept = (query, key, value, masks, log_sum, out)
    return _frames_first(out, query.shape[2]), kept


def _forward_block(key, value, _, rows):
    logits = _logits(*rows, key)
    largest = jnp.max(logits, -1, keepdims=True)
    weights = jnp.exp(logits - largest)
    total = jnp.sum(weights, -1, keepdims=True)
    out = _product(weights.astype(value.dtype), value, jnp.float32) / total
    return (), (out.astype(value.dtype), largest + jnp.log(total))


def _backward(groups, kept, gradient):
    query, key, value, masks, log_sum, out = kept
    gradient = _merged(_heads_first(gradient))
    inner = sum_of_products(
        gradient.astype(jnp.float32), out.astype(jnp.float32), log_sum.shape
    )
    batch, heads, frames, tokens, width = key.shape
    rows_of_frame = query.shape[3]
    sums = [jnp.zeros((batch, heads, width, frames, tokens), jnp.float32)] * 2
    to_query = []
    for group, mask in zip(groups, masks, strict=True):
        of_rows = slice(group.start * rows_of_frame, group.stop * rows_of_frame)
        rows = _merged(query[:, :, group.start : group.stop])
        keys, values = (_merged(frames_of(x, group.keys, 2)) for x in (key, value))
        block = functools.partial(_backward_block, keys, values)
        zeros = jnp.zeros(_turned(keys).shape, jnp.float32)
        parts, to_rows = _scan_rows(
            block,
            (zeros, zeros),
            (
                rows,
                _of_tokens(mask, rows, group),
                *(x[:, :, of_rows] for x in (log_sum, inner, gradient)),
            ),
            _count(rows, keys),
        )
        to_query.append(to_rows)
        sums = [_add(x, group.keys, y) for x, y in zip(sums, parts, strict=True)]
    to_key, to_value = (einops.rearrange(x, "b n h t l -> b t l n h") for x in sums)
    return (
        _frames_first(jnp.concatenate(to_query, 2), query.shape[2]),
        to_key.astype(key.dtype),
        to_value.astype(value.dtype),
        tuple(None for _ in masks),
    )


def _backward_block(key, value, sums, rows):
    to_key, to_value = sums
    query, mask, log_sum, inner, gradient = rows
    weights = jnp.exp(_logits(query, mask, key) - log_sum)
    # The small factor of a product is turned, never the weights.
    to_value += _product(_turned(gradient), weights.astype(value.dtype), jnp.float32)
    to_weights = _product(gradient, _turned(value), jnp.float32)
    to_logits = weights * (to_weights - inner) * _scale(query)
    to_logits = to_logits.astype(query.dtype)
    to_key += _product(_turned(query), to_logits, jnp.float32)
    return (to_key, to_value), _product(to_logits, key)


def _logits(query, mask, key):
    """float32 [B, N, rows, K], hidden keys far below all others."""
    logits = _product(query, _turned(key), jnp.float32) * _scale(query)
    if mask is None:
        return logits
    shown = mask[:, None, :, :, None]
    of_frames = logits.reshape(*logits.shape[:3], mask.shape[2], -1)
    return jnp.where(shown, of_frames, jnp.float32(-1e30)).reshape(logits.shape)


def _of_tokens(mask, rows, group):
    """A group's mask by query tokens: bool [B or 1, Q, frames]."""
    if mask is None:
        return None
    return jnp.repeat(mask, rows.shape[2] // (group.stop - group.start), 1)


def _count(query, key):
    """Blocks: the fewest, of equal size, that respect `BLOCK` and `LEAST_ROWS`."""
    batch, heads, queries, _ = query.shape
    weights = batch * heads * queries * key.shape[2]
    divisors = (n for n in range(1, queries + 1) if queries % n == 0)
    allowed = [n for n in divisors if n == 1 or queries // n >= LEAST_ROWS]
    return next((n for n in allowed if weights <= n * BLOCK), allowed[-1])


def _scan_rows(body, carry, rows, count):
    """`lax.scan` over blocks of the rows of arrays [.., Q, X]."""

    def split(x):
        x = x.reshape(*x.shape[:-2], count, -1, x.shape[-1])
        return jnp.moveaxis(x, -3, 0)

    def join(x):
        x = jnp.moveaxis(x, 0, -3)
        return x.reshape(*x.shape[:-3], -1, x.shape[-1])

    carry, out = lax.scan(body, carry, jax.tree.map(split, rows))
    return carry, jax.tree.map(join, out)


def _index(frames):
    first, last = frames[0], frames[-1]
    contiguous = frames == tuple(range(first, last + 1))
    return slice(first, last + 1) if contiguous else np.array(frames)


def frames_of(x: jax.Array, frames: tuple[int, ...], axis: int) -> jax.Array:
    """Some frames along an axis; a slice where they follow one another."""
    return x[(slice(None),) * axis + (_index(frames),)]


def _add(x, frames, part):
    """Add [B, N, H, K] to some frames of [B, N, H, F, L]."""
    part = part.reshape(*part.shape[:-1], len(frames), -1)
    if len(frames) == x.shape[3]:
        return x + part
    return x.at[:, :, :, _index(frames)].add(part)


def _scale(query):
    return jnp.float32(query.shape[-1] ** -0.5)


def _product(left, right, dtype=None):
    return jnp.matmul(left, right, preferred_element_type=dtype)


def _turned(x):
    return jnp.swapaxes(x, -1, -2)


def _heads_first(x):
    """[B, T, L, N, H] -> [B, N, T, L, H]: matrix products of whole rows."""
    return einops.rearrange(x, "b t l n h -> b n t l h")


def _merged(x):
    return einops.rearrange(x, "b n t l h -> b n (t l) h")


def _frames_first(x, frames):
    return einops.rearrange(x, "b n (t l) h -> b t l n h", t=frames)


softmax_attention.defvjp(_forward, _backward)
