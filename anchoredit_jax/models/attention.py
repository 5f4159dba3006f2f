"""Self-attention over frames behind one function, and attention to a prompt.

Users say which *frames* see which (`memory.FrameVisibility`), never a boolean matrix of
tokens. Backends:

  dense   every query against every key with a mask, in the dtype given (also float64):
          the oracle that tests compare with.
  xla     the same shape of work, matrix products in the compute dtype, softmax float32.
  prefix  each query frame attends to exactly the frames it may see: no masked work.

Letters: B batch, T query frames, P remembered frames, L tokens a frame, N heads,
H head dim, S text tokens.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.softmax import softmax_attention


@struct.dataclass
class Past:
    """Remembered frames beside the sequence: keys already rotated.

    Attributes:
      keys, values: [B, P, L, N, H].
      valid: bool [B, P].
    """

    keys: jax.Array
    values: jax.Array
    valid: jax.Array


def frame_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    visibility: FrameVisibility,
    past: Past | None = None,
    backend: str = "prefix",
) -> jax.Array:
    """Self-attention of T frames that see each other and the past as told.

    Args:
      query, key, value: [B, T, L, N, H], rotated.
      visibility: which of the T frames see which; the past's valid frames are seen by
        all of them.
      past: remembered frames, or None.

    Returns:
      [B, T, L, N, H].
    """
    frames = query.shape[1]
    table = visibility.table(frames)
    sample_table = visibility.sample_table(frames)
    if backend != "prefix":
        groups = [(slice(0, frames), np.arange(frames))]
    elif table.all():
        groups = [(slice(0, frames), np.arange(frames))]
    else:
        groups = [(slice(i, i + 1), np.flatnonzero(table[i])) for i in range(frames)]
    outputs = []
    for rows, seen in groups:
        static = table[rows][:, seen]
        mask = None if static.all() else jnp.asarray(static)[None]
        if sample_table is not None:
            traced = sample_table[:, rows][:, :, seen]
            mask = traced if mask is None else mask & traced
        keys, values, mask = _gather(key, value, seen, mask, past)
        attend = dense_attention if backend == "dense" else softmax_attention
        outputs.append(attend(query[:, rows], keys, values, mask))
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, 1)


def _gather(key, value, seen, mask, past):
    """The frames in `seen`, the past's before them, and the mask of both or None."""
    if len(seen) != key.shape[1]:
        contiguous = seen[-1] - seen[0] + 1 == len(seen)
        index = slice(seen[0], seen[-1] + 1) if contiguous else seen
        key, value = key[:, index], value[:, index]
    if past is None:
        return key, value, mask
    rows = 1 if mask is None else mask.shape[1]
    batch = key.shape[0]
    if mask is None:
        mask = jnp.ones((1, 1, len(seen)), bool)
    own = jnp.broadcast_to(mask, (batch, rows, len(seen)))
    old = jnp.broadcast_to(past.valid[:, None], (batch, rows, past.valid.shape[1]))
    return (
        jnp.concatenate([past.keys.astype(key.dtype), key], 1),
        jnp.concatenate([past.values.astype(value.dtype), value], 1),
        jnp.concatenate([old, own], 2),
    )


def dense_attention(query, key, value, mask):
    """The oracle: the same numbers, every step in the inputs' own dtype."""
    batch, _, tokens, _, head_dim = query.shape
    logits = jnp.einsum("btlnh,bfmnh->bntlfm", query, key) / np.sqrt(head_dim)
    logits = logits.astype(query.dtype)
    if mask is not None:
        shown = jnp.broadcast_to(mask[:, None, :, None, :, None], logits.shape)
        logits = jnp.where(shown, logits, jnp.array(-jnp.inf, logits.dtype))
    flat = logits.reshape(*logits.shape[:4], -1)
    flat = jnp.exp(flat - flat.max(-1, keepdims=True))
    flat = (flat / flat.sum(-1, keepdims=True)).reshape(logits.shape)
    return jnp.einsum("bntlfm,bfmnh->btlnh", flat, value)


def prompt_attention(query, key, value, mask=None):
    """Attention of each frame to the text tokens it was given.

    Args:
      query: [B, T, L, N, H].
      key, value: [B, T, S, N, H].
      mask: bool [T, S], or None where all tokens are seen.
    """
    logits = jnp.einsum(
        "btlnh,btsnh->btnls", query, key, preferred_element_type=jnp.float32
    )
    logits = logits * jnp.float32(query.shape[-1] ** -0.5)
    if mask is not None:
        logits = jnp.where(mask[None, :, None, None], logits, jnp.float32(-1e30))
    weights = jax.nn.softmax(logits).astype(value.dtype)
    return jnp.einsum("btnls,btsnh->btlnh", weights, value)
