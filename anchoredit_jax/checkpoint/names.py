"""One name per array of a tree, whatever containers hold it: "blocks/q/kernel"."""

from typing import Any

import jax
from flax import traverse_util


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
