"""Softmax attention with a derivative of its own.

The weights, a number per query and key, are by far the largest arrays here. They are
never whole: queries are taken in blocks, and the backward pass makes a block's weights
again from the logarithm of their sum instead of keeping them. So does forward mode.

Letters: B batch, N heads, H head dim, L and M tokens of a frame of queries and of keys
(they differ where a device has some queries of a frame), Q query tokens and K key
tokens of some frames.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from anchoredit_jax.arrays import Array, Bool, Float, Float32
from anchoredit_jax.models.derivatives import differentiable
from anchoredit_jax.models.norms import sum_of_products

BLOCK = 2**21  # weights: 8 MiB in float32, what the caches of a CPU hold
LEAST_ROWS = 64  # of a block: matrix products of fewer are slow


class Group(NamedTuple):
    """Query frames `start` to `stop` attend to the frames in `keys`."""

    start: int
    stop: int
    keys: tuple[int, ...]


Groups = tuple[Group, ...]
Masks = tuple[Bool[Array, "_ _ _"] | None, ...]
Rows = tuple[Any, ...]  # mask, query and more, by rows


def softmax_attention(
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B F M N H"],
    value: Float[Array, "B F M N H"],
    masks: Masks,
    groups: Groups,
) -> Float[Array, "B T L N H"]:
    """Attention with a float32 softmax, one group of query frames after the other.

    Args:
      query: of T frames.
      key, value: of F frames.
      masks: of each group, [B or 1, its frames, its keys], or None where all of its
        keys are seen.
      groups: all T frames, in order.

    Returns:
      what the frames attend to, in the dtype of `value`.
    """
    return differentiable(
        functools.partial(_forward, groups),
        functools.partial(_tangent, groups),
        functools.partial(_backward, groups),
        query,
        key,
        value,
        masks,
    )


def _forward(
    groups: Groups,
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B F M N H"],
    value: Float[Array, "B F M N H"],
    masks: Masks,
) -> tuple[Float[Array, "B T L N H"], tuple]:
    query, key, value = map(_heads_first, (query, key, value))
    parts = [
        _scan_rows(_forward_block, (), keys, rows)[1]
        for _, keys, rows in _parts(groups, masks, query, (key, value))
    ]
    out, log_sum = (jnp.concatenate(x, 2) for x in zip(*parts, strict=True))
    return _frames_first(out, query.shape[2]), (query, key, value, masks, log_sum, out)


def _forward_block(
    key: Float[Array, "B N K H"], value: Float[Array, "B N K H"], _: tuple, rows: Rows
) -> tuple[tuple, tuple[Float[Array, "B N Q H"], Float32[Array, "B N Q 1"]]]:
    mask, query = rows
    logits = _logits(mask, query, key)
    largest = jnp.max(logits, -1, keepdims=True)
    weights = jnp.exp(logits - largest)
    total = jnp.sum(weights, -1, keepdims=True)
    out = _product(weights.astype(value.dtype), value, jnp.float32) / total
    return (), (out.astype(value.dtype), largest + jnp.log(total))


def _tangent(
    groups: Groups,
    kept: tuple,
    to_query: Float[Array, "B T L N H"],
    to_key: Float[Array, "B F M N H"],
    to_value: Float[Array, "B F M N H"],
    _: tuple,
) -> Float[Array, "B T L N H"]:
    query, key, value, masks, log_sum, out = kept
    of_keys = key, value, *map(_heads_first, (to_key, to_value))
    of_rows = log_sum, out, _merged(_heads_first(to_query))
    parts = [
        _scan_rows(_tangent_block, (), keys, rows)[1]
        for _, keys, rows in _parts(groups, masks, query, of_keys, of_rows)
    ]
    return _frames_first(jnp.concatenate(parts, 2), query.shape[2])


def _tangent_block(
    key: Float[Array, "B N K H"],
    value: Float[Array, "B N K H"],
    to_key: Float[Array, "B N K H"],
    to_value: Float[Array, "B N K H"],
    _: tuple,
    rows: Rows,
) -> tuple[tuple, Float[Array, "B N Q H"]]:
    mask, query, log_sum, out, to_query = rows
    weights = jnp.exp(_logits(mask, query, key) - log_sum)
    to_logits = _product(to_query, _turned(key), jnp.float32)
    to_logits += _product(query, _turned(to_key), jnp.float32)
    to_weights = weights * to_logits * _scale(query)
    to_out = _product(to_weights.astype(value.dtype), value, jnp.float32)
    to_out += _product(weights.astype(value.dtype), to_value, jnp.float32)
    to_out -= jnp.sum(to_weights, -1, keepdims=True) * out.astype(jnp.float32)
    return (), to_out.astype(value.dtype)


def _backward(
    groups: Groups, kept: tuple, gradient: Float[Array, "B T L N H"]
) -> tuple:
    query, key, value, masks, log_sum, out = kept
    gradient = _merged(_heads_first(gradient))
    inner = sum_of_products(
        gradient.astype(jnp.float32), out.astype(jnp.float32), log_sum.shape
    )
    batch, heads, frames, tokens, width = key.shape
    sums = [jnp.zeros((batch, heads, width, frames, tokens), jnp.float32)] * 2
    to_query = []
    of_rows = log_sum, inner, gradient
    for group, keys, rows in _parts(groups, masks, query, (key, value), of_rows):
        zeros = jnp.zeros(_turned(keys[0]).shape, jnp.float32)
        parts, to_rows = _scan_rows(_backward_block, (zeros, zeros), keys, rows)
        to_query.append(to_rows)
        sums = [_add(x, group.keys, y) for x, y in zip(sums, parts, strict=True)]
    to_key, to_value = (einops.rearrange(x, "b n h t l -> b t l n h") for x in sums)
    return (
        _frames_first(jnp.concatenate(to_query, 2), query.shape[2]),
        to_key.astype(key.dtype),
        to_value.astype(value.dtype),
        masks,
    )


def _backward_block(
    key: Float[Array, "B N K H"],
    value: Float[Array, "B N K H"],
    sums: tuple[Float32[Array, "B N H K"], Float32[Array, "B N H K"]],
    rows: Rows,
) -> tuple[tuple, Float[Array, "B N Q H"]]:
    to_key, to_value = sums
    mask, query, log_sum, inner, gradient = rows
    weights = jnp.exp(_logits(mask, query, key) - log_sum)
    # The small factor of a product is turned, never the weights.
    to_value += _product(_turned(gradient), weights.astype(value.dtype), jnp.float32)
    to_weights = _product(gradient, _turned(value), jnp.float32)
    to_logits = weights * (to_weights - inner) * _scale(query)
    to_logits = to_logits.astype(query.dtype)
    to_key += _product(_turned(query), to_logits, jnp.float32)
    return (to_key, to_value), _product(to_logits, key)


def _parts(
    groups: Groups,
    masks: Masks,
    query: Float[Array, "B N T L H"],
    of_keys: tuple[Array, ...],
    of_rows: tuple[Array, ...] = (),
) -> Iterator[tuple[Group, list[Array], Rows]]:
    """Yield every group with its part of the arrays [B, N, F, M, H] of keys, merged,
    and its rows: of mask, query [B, N, T, L, H] and arrays [B, N, T * L, X]."""
    tokens = query.shape[3]
    for group, mask in zip(groups, masks, strict=True):
        keys = [_merged(frames_of(x, group.keys, 2)) for x in of_keys]
        mask = None if mask is None else jnp.repeat(mask, tokens, 1)
        own = _merged(query[:, :, group.start : group.stop])
        rows = slice(group.start * tokens, group.stop * tokens)
        yield group, keys, (mask, own, *(x[:, :, rows] for x in of_rows))


def _logits(
    mask: Bool[Array, "_ Q F"] | None,
    query: Float[Array, "B N Q H"],
    key: Float[Array, "B N K H"],
) -> Float32[Array, "B N Q K"]:
    """The logits, those of hidden keys far below all others."""
    logits = _product(query, _turned(key), jnp.float32) * _scale(query)
    if mask is None:
        return logits
    shown = mask[:, None, :, :, None]
    of_frames = logits.reshape(*logits.shape[:3], mask.shape[2], -1)
    return jnp.where(shown, of_frames, jnp.float32(-1e30)).reshape(logits.shape)


def _count(query: Float[Array, "B N Q H"], key: Float[Array, "B N K H"]) -> int:
    """Blocks: the fewest, of equal size, that respect `BLOCK` and `LEAST_ROWS`."""
    batch, heads, queries, _ = query.shape
    weights = batch * heads * queries * key.shape[2]
    divisors = (n for n in range(1, queries + 1) if queries % n == 0)
    allowed = [n for n in divisors if n == 1 or queries // n >= LEAST_ROWS]
    return next((n for n in allowed if weights <= n * BLOCK), allowed[-1])


def _scan_rows(
    block: Callable, carry: tuple, keys: list[Array], rows: Rows
) -> tuple[tuple, Any]:
    """`lax.scan` of a block of the attention to `keys` over the rows of a group."""
    count = _count(rows[1], keys[0])

    def split(x):
        x = x.reshape(*x.shape[:-2], count, -1, x.shape[-1])
        return jnp.moveaxis(x, -3, 0)

    def join(x):
        x = jnp.moveaxis(x, 0, -3)
        return x.reshape(*x.shape[:-3], -1, x.shape[-1])

    block = functools.partial(block, *keys)
    carry, out = lax.scan(block, carry, jax.tree.map(split, rows))
    return carry, jax.tree.map(join, out)


def _index(frames: tuple[int, ...]) -> slice | np.ndarray:
    first, last = frames[0], frames[-1]
    contiguous = frames == tuple(range(first, last + 1))
    return slice(first, last + 1) if contiguous else np.array(frames)


def frames_of(
    x: Float[Array, "..."], frames: tuple[int, ...], axis: int
) -> Float[Array, "..."]:
    """Some frames along an axis; a slice where they follow one another."""
    return x[(slice(None),) * axis + (_index(frames),)]


def _add(
    x: Float32[Array, "B N H F M"],
    frames: tuple[int, ...],
    part: Float32[Array, "B N H K"],
) -> Float32[Array, "B N H F M"]:
    """x with the part, of some frames, added to these."""
    part = part.reshape(*part.shape[:-1], len(frames), -1)
    if len(frames) == x.shape[3]:
        return x + part
    return x.at[:, :, :, _index(frames)].add(part)


def _scale(query: Float[Array, "*B H"]) -> np.float32 | Float32[Array, ""]:
    return jnp.float32(query.shape[-1] ** -0.5)


def _product(
    left: Float[Array, "*B Q X"], right: Float[Array, "*B X K"], dtype: Any = None
) -> Float[Array, "*B Q K"]:
    return jnp.matmul(left, right, preferred_element_type=dtype)


def _turned(x: Float[Array, "*B Q K"]) -> Float[Array, "*B K Q"]:
    return jnp.swapaxes(x, -1, -2)


def _heads_first(x: Float[Array, "B T L N H"]) -> Float[Array, "B N T L H"]:
    """Heads before tokens, so that matrix products are of whole rows."""
    return einops.rearrange(x, "b t l n h -> b n t l h")


def _merged(x: Float[Array, "B N T L H"]) -> Float[Array, "B N T*L H"]:
    return einops.rearrange(x, "b n t l h -> b n (t l) h")


def _frames_first(
    x: Float[Array, "B N Q H"], frames: int
) -> Float[Array, "B {frames} L N H"]:
    return einops.rearrange(x, "b n (t l) h -> b t l n h", t=frames)
