"""Frame-level self-attention by cuDNN's fused kernels, on NVIDIA GPUs.

Each group of query frames meets exactly the keys that it may see, as in the prefix
backend; nothing of the size of the weights is ever in memory, except the mask of a rule
that differs by sample.
"""

import einops
import jax
import jax.numpy as jnp

from anchoredit_jax.arrays import Array, Bool, Float
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.softmax import Group, frames_of

DTYPES = ("bfloat16", "float16")


def cudnn_attention(
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B F M N H"],
    value: Float[Array, "B F M N H"],
    masks: tuple[Bool[Array, "_ _ _"] | None, ...],
    groups: tuple[Group, ...],
) -> Float[Array, "B T L N H"]:
    """Compute what `softmax_attention` does of the same arguments, in half precision.

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


def _tokens(x: Float[Array, "B T L N H"]) -> Float[Array, "B T*L N H"]:
    return einops.rearrange(x, "b t l n h -> b (t l) n h")


def _of_tokens(
    mask: Bool[Array, "_ _ F"],
    rows: Float[Array, "B T L N H"],
    keys: Float[Array, "B F M N H"],
) -> Bool[Array, "B 1 T*L F*M"]:
    """The mask of tokens, from one of frames that samples or rows may share."""
    batch, frames, tokens = rows.shape[:3]
    mask = jnp.broadcast_to(mask, (batch, frames, keys.shape[1]))
    return jnp.repeat(jnp.repeat(mask, tokens, 1), keys.shape[2], 2)[:, None]
