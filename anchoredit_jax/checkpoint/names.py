"""One name per array of a tree, whatever containers hold it: "blocks/q/kernel"."""

from typing import Any

import jax


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """Keys, fields and indices on the way to each leaf, joined by "/".

    Raises:
      ValueError: a key holds a slash, so that names would be ambiguous.
    """
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = [_key(entry) for entry in path]
        if any("/" in key for key in keys):
            raise ValueError(f"a name of a tree holds a slash: {keys}")
        named["/".join(keys)] = leaf
    return named


def flat_leaves(tree: Any) -> dict[str, Any]:
    """`leaves_by_name`, where a tree of those names already is one."""
    if isinstance(tree, dict) and not any(isinstance(v, dict) for v in tree.values()):
        return tree
    return leaves_by_name(tree)


def unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts from leaves by name, the inverse of `leaves_by_name`."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *parents, last = name.split("/")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = leaf
    return tree


def _key(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)
