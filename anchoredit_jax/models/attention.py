"""Self-attention over frames behind one function, and attention to a prompt.

Users say which *frames* see which (`memory.FrameVisibility`), never a boolean matrix of
tokens. Backends:

  dense   every query against every key with a mask, in the dtype given (also float64):
          the oracle that tests compare with.
  xla     the same shape of work, matrix products in the compute dtype, softmax float32.
  prefix  each query frame attends to exactly the frames it may see: no masked work.
  cudnn   the same on an NVIDIA GPU, by its fused kernels, in bfloat16 or float16.
  splash  the same on a TPU, by jax's kernel; prompts too.

Where samples have rules of their own, `splash` works what each sample sees, the others
what any sample does, with masks.

All but the oracle are spread over a mesh by `mesh_attention`.

Letters: B batch, T query frames, P remembered frames, L tokens a frame, N heads,
H head dim, S text tokens.
"""

import functools
from typing import no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from anchoredit_jax.arrays import Array, Bool, Float
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.cudnn import cudnn_attention
from anchoredit_jax.models.derivatives import with_tangents_of
from anchoredit_jax.models.mesh_attention import attend_on_mesh
from anchoredit_jax.models.softmax import Group, softmax_attention
from anchoredit_jax.models.splash import splash_frame_attention, splash_prompt_attention


@no_type_check  # its leaves may be anything, as those of any pytree
@struct.dataclass
class Past:
    """Remembered frames beside the sequence: keys already rotated.

    Attributes:
      keys, values: of P frames.
      valid: which of them a sample has.
    """

    keys: Float[Array, "B P L N H"]
    values: Float[Array, "B P L N H"]
    valid: Bool[Array, "B P"]


def frame_attention(
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B T L N H"],
    value: Float[Array, "B T L N H"],
    visibility: FrameVisibility,
    past: Past | None = None,
    backend: str = "prefix",
) -> Float[Array, "B T L N H"]:
    """Self-attention of T frames that see each other and the past as told.

    Args:
      query, key, value: of the T frames, query and key rotated.
      visibility: which of the T frames see which; the past's valid frames are seen by
        all of them.
      past: remembered frames, or None.
      backend: one of those above.
    """
    frames = query.shape[1]
    rules = visibility.tables(frames)
    shown = visibility.sample_table(frames)
    if past is not None:
        key = jnp.concatenate([past.keys.astype(key.dtype), key], 1)
        value = jnp.concatenate([past.values.astype(value.dtype), value], 1)
        remembered = past.valid.shape[1]
        rules = np.pad(rules, ((0, 0), (0, 0), (remembered, 0)), constant_values=True)
    seen, choice, valid = np.any(rules, 0), None, None
    if shown is not None:
        choice = visibility.choice
    if past is not None:
        own = jnp.ones((len(past.valid), frames), bool)
        valid = jnp.concatenate([past.valid, own], 1)
        shown = _beside_the_past(past.valid, shown, frames)
    if backend == "dense":
        everything = Group(0, frames, tuple(range(seen.shape[1])))
        return dense_attention(query, key, value, _mask(seen, shown, everything))
    groups = _groups(np.ones_like(seen) if backend == "xla" else seen)
    masks = tuple(_mask(seen, shown, group) for group in groups)

    def plain(query, key, value, valid, choice, *masks):
        return softmax_attention(query, key, value, masks, groups)

    def cudnn(query, key, value, valid, choice, *masks):
        return cudnn_attention(query, key, value, masks, groups)

    def splash(query, key, value, valid, choice, *masks):
        table = rules[0] if choice is None else rules
        return splash_frame_attention(query, key, value, table, valid, choice)

    kernel = {"cudnn": cudnn, "splash": splash}.get(backend)
    attend = functools.partial(with_tangents_of, plain, kernel) if kernel else plain
    return attend_on_mesh(attend, query, key, value, valid, choice, *masks)


def _groups(seen: Bool[np.ndarray, "T F"]) -> tuple[Group, ...]:
    """Neighbouring frames that see the same, each with exactly what it sees."""
    changes = np.flatnonzero((seen[1:] != seen[:-1]).any(1)) + 1
    edges = [0, *changes.tolist(), len(seen)]
    return tuple(
        Group(start, stop, tuple(np.flatnonzero(seen[start]).tolist()))
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
    )


def _mask(
    seen: Bool[np.ndarray, "T F"], shown: Bool[Array, "B T F"] | None, group: Group
) -> Bool[Array, "_ rows keys"] | None:
    """What the group's frames see of its keys; None where that is all of them."""
    rows = slice(group.start, group.stop)
    keys = np.array(group.keys)
    static = seen[rows][:, keys]
    if shown is None:
        return None if static.all() else jnp.asarray(static)[None]
    return shown[:, rows][:, :, keys] & static[None]


def _beside_the_past(
    valid: Bool[Array, "B P"], shown: Bool[Array, "_ T T"] | None, frames: int
) -> Bool[Array, "B T F"]:
    """The past's valid frames, then what the rule shows (F = P + T)."""
    batch, remembered = valid.shape
    old = jnp.broadcast_to(valid[:, None], (batch, frames, remembered))
    if shown is None:
        shown = jnp.ones((1, frames, frames), bool)
    shown = jnp.broadcast_to(shown, (batch, frames, frames))
    return jnp.concatenate([old, shown], 2)


def dense_attention(
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B F M N H"],
    value: Float[Array, "B F M N H"],
    mask: Bool[Array, "_ T F"] | None,
) -> Float[Array, "B T L N H"]:
    """The oracle: the same numbers, every step in the inputs' own dtype."""
    batch, _, tokens, _, head_dim = query.shape
    scale = jnp.asarray(np.sqrt(head_dim), query.dtype)
    logits = jnp.einsum("btlnh,bfmnh->bntlfm", query, key) / scale
    if mask is not None:
        shown = jnp.broadcast_to(mask[:, None, :, None, :, None], logits.shape)
        logits = jnp.where(shown, logits, jnp.array(-jnp.inf, logits.dtype))
    flat = logits.reshape(*logits.shape[:4], -1)
    flat = jnp.exp(flat - flat.max(-1, keepdims=True))
    flat = (flat / flat.sum(-1, keepdims=True)).reshape(logits.shape)
    return jnp.einsum("bntlfm,bfmnh->btlnh", flat, value)


def prompt_attention(
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B T S N H"],
    value: Float[Array, "B T S N H"],
    mask: Bool[Array, "T S"] | None = None,
    backend: str = "prefix",
) -> Float[Array, "B T L N H"]:
    """Attention of each frame to the text tokens it was given.

    Args:
      query: of the T frames.
      key, value: of each frame's own text tokens.
      mask: which of them it sees, or None where it sees all.
      backend: as in `frame_attention`; all but "splash" are the same here.
    """
    plain = functools.partial(_prompt_attention, mask)
    if backend != "splash":
        return plain(query, key, value)

    def splash(query, key, value):
        return splash_prompt_attention(query, key, value, mask)

    attend = functools.partial(with_tangents_of, plain, splash)
    return attend_on_mesh(attend, query, key, value, same_tokens=False)


def _prompt_attention(
    mask: Bool[Array, "T S"] | None,
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B T S N H"],
    value: Float[Array, "B T S N H"],
) -> Float[Array, "B T L N H"]:
    logits = jnp.einsum(
        "btlnh,btsnh->btnls", query, key, preferred_element_type=jnp.float32
    )
    logits = logits * jnp.float32(query.shape[-1] ** -0.5)
    if mask is not None:
        logits = jnp.where(mask[None, :, None, None], logits, jnp.float32(-1e30))
    weights = jax.nn.softmax(logits).astype(value.dtype)
    return jnp.einsum("btnls,btsnh->btlnh", weights, value)
