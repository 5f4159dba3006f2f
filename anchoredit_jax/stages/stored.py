"""Dtypes in which a state keeps what no small update is added to."""

from typing import Any

import jax
import jax.numpy as jnp

from anchoredit_jax.errors import UserError

DTYPES = ("float32", "bfloat16")


def check_dtype(what: str, dtype: str) -> None:
    """UserError unless `dtype` is one that a state may be stored in."""
    if dtype not in DTYPES:
        raise UserError(f"{what} must be one of {', '.join(DTYPES)}; got {dtype!r}")


def stored(tree: Any, dtype: str) -> Any:
    """A copy of a tree of parameters in `dtype`, which shares no buffer with it."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype), tree)
