"""Reading a step's items by Orbax: the whole state, one item, or one array of it."""

import contextlib
import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from anchoredit_jax.checkpoint.checking import (
    CHECKSUMS,
    SEAL,
    leaf_of,
    reading_step,
    sealed_meta,
    shapes_of,
)
from anchoredit_jax.checkpoint.damage import check_arrays
from anchoredit_jax.checkpoint.steps import META, RECORD, items_there
from anchoredit_jax.errors import UserError
from anchoredit_jax.trees import leaves_by_name, unflatten

LEAF = "value"  # the key under which a field that is a bare array is stored


def read_meta(step_dir: Path) -> dict[str, Any]:
    """The JSON item that `save` was given."""
    with reading_step(step_dir, META) as place:
        meta = sealed_meta(step_dir, place)
    return {key: meta[key] for key in meta if key not in (CHECKSUMS, SEAL)}


def stored_checksums(step_dir: Path) -> dict[str, str]:
    """Checksum of every array by "item/name"; empty where none were saved yet."""
    with reading_step(step_dir, META) as place:
        return sealed_meta(step_dir, place).get(CHECKSUMS, {})


def item_names(step_dir: Path) -> list[str]:
    """The items of arrays that a completed step has."""
    with reading_step(step_dir, RECORD):
        return items_there(step_dir)


def tree_shapes(step_dir: Path, items: Collection[str] | None = None) -> dict[str, Any]:
    """Shapes and dtypes of every item, readable on any machine, without the arrays.

    Args:
      items: those to be read; None for all.

    Returns:
      item name -> tree of `jax.ShapeDtypeStruct`.
    """
    stored = stored_checksums(step_dir)
    with reading_step(step_dir, " and ".join(items or ["arrays"])) as place:
        return shapes_of(step_dir, place, stored, items)


def restore(step_dir: Path, abstract: Any) -> Any:
    """The state saved in `step_dir`, in the structure and shardings of `abstract`.

    Args:
      abstract: the state with `jax.ShapeDtypeStruct` leaves; a leaf without a sharding
        goes to the first device, whatever mesh it was saved from.

    Raises:
      UserError: the folder's items or shapes are not those of `abstract`.
    """
    step_dir = Path(step_dir).absolute()
    wanted = state_items(_placed(abstract))
    saved = tree_shapes(step_dir)
    if set(wanted) != set(saved):
        raise UserError(
            f"{step_dir} holds {sorted(saved)}, this stage needs {sorted(wanted)}: "
            "it is a checkpoint of another stage or version"
        )
    misfits = [
        name
        for item in sorted(wanted)
        for name in _misfits(wanted[item], saved[item], item)
    ]
    if misfits:
        raise UserError(
            f"{step_dir} does not fit this configuration: {', '.join(misfits[:4])}"
            + (f" and {len(misfits) - 4} more" if len(misfits) > 4 else "")
        )
    fields, stored = {}, stored_checksums(step_dir)
    for name, target in wanted.items():
        with reading_step(step_dir, name) as place:
            fields[name] = _restored(place / name, target)
            check_arrays(step_dir, stored, name, fields[name])
    for name, tree in fields.items():
        if _is_leaf(getattr(abstract, name)):
            fields[name] = tree[LEAF]
    return dataclasses.replace(abstract, **fields)


def read_item(
    step_dir: Path, name: str, places: Callable[[Any], Any] | None = None
) -> Any:
    """Read one item, such as "ema", as a tree of dicts.

    Args:
      places: gives the sharding of every array, from their shapes; None is the first
        device.
    """
    step_dir = Path(step_dir).absolute()
    if not (step_dir / name).is_dir():
        there = ", ".join(path.name for path in sorted(step_dir.glob("*/")))
        raise UserError(f"{step_dir} holds no '{name}', it holds {there}")
    shapes = tree_shapes(step_dir, [name])[name]
    stored = stored_checksums(step_dir)
    with reading_step(step_dir, name) as place:
        tree = _restored(place / name, _placed(shapes, places))
        check_arrays(step_dir, stored, name, tree)
        return tree


def _restored(item: Path, target: Any) -> Any:
    with contextlib.closing(ocp.StandardCheckpointHandler()) as reader:
        return reader.restore(item, args=ocp.args.StandardRestore(target))


def read_leaf(step_dir: Path, name: str, path: str) -> np.ndarray:
    """Read one array of an item, "blocks/ffn/fc1/kernel" of "ema", and nothing else.

    Raises:
      UserError: it is damaged.
    """
    stored = stored_checksums(step_dir)
    with reading_step(step_dir, name) as place:
        leaf = leaf_of(place / name, path)
        check_arrays(step_dir, stored, name, unflatten({path: leaf}))
        return leaf


def default_sharding() -> jax.sharding.Sharding:
    """The place of arrays that are not told another: this process's first device."""
    return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _placed(abstract: Any, places: Callable[[Any], Any] | None = None) -> Any:
    """Shapes with the shardings of `places` or those they have, else the default."""
    if places is not None:
        abstract = jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=place
            ),
            abstract,
            places(abstract),
        )
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape,
            leaf.dtype,
            sharding=getattr(leaf, "sharding", None) or default_sharding(),
        ),
        abstract,
    )


def state_items(state: Any) -> dict[str, Any]:
    """A state's fields as they are stored, those without arrays left out."""
    items = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if jax.tree.leaves(value):
            items[field.name] = {LEAF: value} if _is_leaf(value) else value
    return items


def _misfits(wanted: Any, saved: Any, item: str) -> list[str]:
    """Arrays that are not there, not wanted, or of another shape."""
    wanted, saved = leaves_by_name(wanted), leaves_by_name(saved)
    found = []
    for name in sorted(wanted.keys() | saved.keys()):
        pair = [
            f"{tree[name].dtype.name}{list(tree[name].shape)}"
            if name in tree
            else "nothing"
            for tree in (saved, wanted)
        ]
        if pair[0] != pair[1]:
            found.append(f"{item}/{name} is {pair[0]}, wanted {pair[1]}")
    return found


def _is_leaf(value: Any) -> bool:
    return jax.tree.structure(value) == jax.tree.structure(0)
