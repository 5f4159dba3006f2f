"""Trees of arrays: one name per array, a digest, what is not finite, other dtypes.

A name is "blocks/q/kernel", whatever containers hold the array.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from anchoredit_jax.errors import UserError

_NAMED = 3  # of several arrays, in a message
DTYPES = ("float32", "bfloat16")  # that parameters and moments may be stored in


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """Keys, fields and indices on the way to each leaf, joined by "/".

    Raises:
      ValueError: a key holds a slash, so that names would be ambiguous.
    """
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = [jax.tree_util.keystr((entry,), simple=True) for entry in path]
        if any("/" in key for key in keys):
            raise ValueError(f"a name of a tree holds a slash: {keys}")
        named["/".join(keys)] = leaf
    return named


def unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts from leaves by name, the inverse of `leaves_by_name`."""
    return traverse_util.unflatten_dict(flat, sep="/")


def digest(tree: Any) -> str:
    """First 16 hex digits of a SHA-256 over names, shapes, dtypes and bytes.

    Independent of the container types and of the order in which keys were inserted.
    """
    leaves = leaves_by_name(tree)
    sha = hashlib.sha256()
    for name in sorted(leaves):
        leaf = leaves[name]
        sha.update(f"{name} {leaf.shape} {leaf.dtype.name}\n".encode())
        for part in _on_this_host(leaf):
            little = np.asarray(part).dtype.newbyteorder("<")
            sha.update(np.ascontiguousarray(part, little).tobytes())
    return sha.hexdigest()[:16]


def _on_this_host(leaf: Any) -> Iterator[np.ndarray]:
    """An array, or one stacked layer of it after the other where it lies on several
    hosts: of those each then holds a layer at a time, not all of them."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        yield jax.device_get(leaf)
    elif leaf.ndim < 3:
        yield multihost_utils.process_allgather(leaf, tiled=True)
    else:
        for layer in range(leaf.shape[0]):
            yield multihost_utils.process_allgather(_layer(leaf, layer), tiled=True)


@jax.jit
def _layer(leaf: jax.Array, layer: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(leaf, layer, keepdims=False)


def check_dtype(what: str, dtype: str) -> None:
    """UserError unless `dtype` is one that a tree may be stored in."""
    if dtype not in DTYPES:
        raise UserError(f"{what} must be one of {', '.join(DTYPES)}; got {dtype!r}")


def not_finite(tree: Any) -> list[str]:
    """Names of the arrays that hold a NaN or an infinity.

    On any mesh, by all of its processes alike: only flags leave the devices.
    """
    named = {
        name: leaf
        for name, leaf in leaves_by_name(tree).items()
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    if not named:
        return []
    place = getattr(next(iter(named.values())), "sharding", None)
    if isinstance(place, NamedSharding):
        place = NamedSharding(place.mesh, PartitionSpec())
    flags = jax.jit(
        lambda leaves: jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]),
        out_shardings=place,
    )(list(named.values()))
    return [
        name
        for name, fine in zip(named, jax.device_get(flags), strict=True)
        if not fine
    ]


def some_names(names: list[str]) -> str:
    """The first few of several names, for a message."""
    told = ", ".join(names[:_NAMED])
    rest = len(names) - _NAMED
    return f"{told} and {rest} more" if rest > 0 else told


def cast_copy(tree: Any, dtype: str) -> Any:
    """A copy of a tree of parameters in `dtype`, which shares no buffer with it."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, dtype), tree)
