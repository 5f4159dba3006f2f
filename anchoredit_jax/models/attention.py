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

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.cudnn import cudnn_attention
from anchoredit_jax.models.derivatives import with_tangents_of
from anchoredit_jax.models.mesh_attention import attend_on_mesh
from anchoredit_jax.models.softmax import Group, softmax_attention
from anchoredit_jax.models.splash import splash_frame_attention, splash_prompt_attention


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
    rules = visibility.tables(frames)
    shown = visibility.sample_table(frames)
    if past is not None:
        key = jnp.concatenate([past.keys.astype(key.dtype), key], 1)
        value = jnp.concatenate([past.values.astype(value.dtype), value], 1)
        remembered = past.valid.shape[1]
        rules = np.pad(rules, ((0, 0), (0, 0), (remembered, 0)), constant_values=True)
    seen, choice, valid = rules.any(0), None, None
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


def _groups(seen: np.ndarray) -> tuple[Group, ...]:
    """Neighbouring frames that see the same, each with exactly what it sees."""
    changes = np.flatnonzero((seen[1:] != seen[:-1]).any(1)) + 1
    edges = [0, *changes.tolist(), len(seen)]
    return tuple(
        Group(start, stop, tuple(np.flatnonzero(seen[start]).tolist()))
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
    )


def _mask(seen, shown, group):
    """bool [B or 1, the group's frames, its keys], or None where all are seen."""
    rows = slice(group.start, group.stop)
    keys = np.array(group.keys)
    static = seen[rows][:, keys]
    if shown is None:
        return None if static.all() else jnp.asarray(static)[None]
    return shown[:, rows][:, :, keys] & static[None]


def _beside_the_past(valid, shown, frames):
    """bool [B, T, P + T]: the past's valid frames, and what the rule shows."""
    batch, remembered = valid.shape
    old = jnp.broadcast_to(valid[:, None], (batch, frames, remembered))
    if shown is None:
        shown = jnp.ones((1, frames, frames), bool)
    shown = jnp.broadcast_to(shown, (batch, frames, frames))
    return jnp.concatenate([old, shown], 2)


def dense_attention(query, key, value, mask):
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
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: np.ndarray | None = None,
    backend: str = "prefix",
) -> jax.Array:
    """Attention of each frame to the text tokens it was given.

    Args:
      query: [B, T, L, N, H].
      key, value: [B, T, S, N, H].
      mask: static bool [T, S], or None where all tokens are seen.
      backend: as in `frame_attention`; all but "splash" are the same here.
    """
    plain = functools.partial(_prompt_attention, mask)
    if backend != "splash":
        return plain(query, key, value)

    def splash(query, key, value):
        return splash_prompt_attention(query, key, value, mask)

    attend = functools.partial(with_tangents_of, plain, splash)
    return attend_on_mesh(attend, query, key, value, same_tokens=False)


def _prompt_attention(mask, query, key, value):
    logits = jnp.einsum(
        "btlnh,btsnh->btnls", query, key, preferred_element_type=jnp.float32
    )
    logits = logits * jnp.float32(query.shape[-1] ** -0.5)
    if mask is not None:
        logits = jnp.where(mask[None, :, None, None], logits, jnp.float32(-1e30))
    weights = jax.nn.softmax(logits).astype(value.dtype)
    return jnp.einsum("btnls,btsnh->btlnh", weights, value)
