"""Frame-level self-attention by cuDNN's fused kernels, on NVIDIA GPUs.

Each group of query frames meets exactly the keys that it may see, as in the prefix
backend; nothing of the size of the weights is ever in memory, except the mask of a rule
that differs by sample.
"""

import einops
import jax
import jax.numpy as jnp

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.softmax import Group, frames_of

DTYPES = ("bfloat16", "float16")


def cudnn_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    masks: tuple[jax.Array | None, ...],
    groups: tuple[Group, ...],
) -> jax.Array:
    """As `softmax_attention`, with its arguments, in bfloat16 or float16.

    Raises:
      UserError: another dtype, which the kernels do not have.
    """
    if query.dtype.name not in DTYPES:
        raise UserError(
            "model.attention 'cudnn' computes in bfloat16 or float16, not in "
            f"{query.dtype.name}: set model.dtype=bfloat16"
        )
    outputs = []
    for group, mask in zip(groups, masks, strict=True):
        rows = query[:, group.start : group.stop]
        keys, values = (frames_of(x, group.keys, 1) for x in (key, value))
        attended = jax.nn.dot_product_attention(
            _tokens(rows),
            _tokens(keys).astype(query.dtype),
            _tokens(values).astype(query.dtype),
            mask=None if mask is None else _of_tokens(mask, rows, keys),
            implementation="cudnn",
        )
        outputs.append(attended.reshape(rows.shape))
    return jnp.concatenate(outputs, 1).astype(value.dtype)


def _tokens(x):
    return einops.rearrange(x, "b t l n h -> b (t l) n h")


def _of_tokens(mask, rows, keys):
    """bool [B or 1, T or 1, F] -> [B, 1, T * L, F * M]."""
    batch, frames, tokens = rows.shape[:3]
    mask = jnp.broadcast_to(mask, (batch, frames, keys.shape[1]))
    return jnp.repeat(jnp.repeat(mask, tokens, 1), keys.shape[2], 2)[:, None]
