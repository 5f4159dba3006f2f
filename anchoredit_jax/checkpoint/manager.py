"""Orbax, thinly: asynchronous, committed-only checkpoints of a training state.

A step is a folder `<checkpoints>/<step>` with one Orbax item per field of the state
("params", "ema", "opt_state", ...; fields without arrays are left out) and a JSON item
"meta". Each field can so be read by itself: editing reads "ema" and nothing else.

"meta" holds a checksum of every array, and a digest of itself: what is read later is
what was saved, or refused. Checkpoints of earlier versions have none and are read as
they are.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import LatestN, PreservationPolicy

from anchoredit_jax.checkpoint.checksums import checksums, text_digest
from anchoredit_jax.checkpoint.damage import (
    DamagedError,
    check_arrays,
    check_shapes,
    reading,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.trees import leaves_by_name, unflatten

log = logging.getLogger(__name__)
# Orbax's log is not for people: what goes wrong is raised as well, and told in a line.
logging.getLogger("absl").addFilter(
    lambda record: f"{os.sep}orbax{os.sep}" not in record.pathname
)

META = "meta"
LEAF = "value"  # the key under which a field that is a bare array is stored
RECORD = "_CHECKPOINT_METADATA"  # Orbax's own file in the folder of every step
RECORD = "_CHECKPOINT_METADATA"  # Orbax's file in the folder of every step
CHECKSUMS, SEAL = "checksums", "digest"  # keys of "meta", not of what `save` is given


def open_manager(
    directory: Path, keep: int | None | PreservationPolicy
) -> ocp.CheckpointManager:
    """A manager that writes into `directory`; close it with `.close()`.

    Folders of saves that never finished are put out of the way first, so that they
    neither count as steps nor block a new save of the same step. Of several processes
    all have to call this, on one file system.

    Args:
      keep: how many of the latest steps stay, None for all; or what says which, see
        `keeping.policy_of`.
    """
    directory = Path(directory).absolute()
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        for path in _step_folders(directory):
            if path.name.isdecimal() and not is_committed(path):
                path.rename(_free_name(path))
    if jax.process_count() > 1:  # Orbax lists the folder next
        multihost_utils.sync_global_devices("unfinished saves are out of the way")
    if keep is None or isinstance(keep, int):
        keep = LatestN(keep)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=keep,
        enable_async_checkpointing=True,
        # Else, where the disk refuses a folder, threads wait minutes for it.
        async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        cleanup_tmp_directories=True,
    )
    return ocp.CheckpointManager(directory, options=options)


class SaveError(OSError):
    """A checkpoint could not be written; those before it stand."""


# What Orbax and TensorStore raise where the disk refuses.
_REFUSED = (OSError, ValueError, RuntimeError)


@contextlib.contextmanager
def saving(
    directory: Path, keep: int | None | PreservationPolicy
) -> Iterator[ocp.CheckpointManager]:
    """`open_manager` for a block, at whose end all saves are done.

    Raises:
      SaveError: one of them failed.
    """
    manager = open_manager(directory, keep)
    try:
        yield manager
    except SaveError:
        raise  # closing would wait minutes for what is not written any more
    except BaseException:
        with contextlib.suppress(*_REFUSED):  # the block's own error is what is told
            manager.close()
        raise
    with _telling(manager):
        manager.close()


def check_saves(manager: ocp.CheckpointManager) -> None:
    """Raise `SaveError` where a save in the background has failed; asked every step."""
    with _telling(manager):
        manager.check_for_errors()


def finish_saves(manager: ocp.CheckpointManager) -> None:
    """Wait until all saves are done.

    Raises:
      SaveError: one of them failed.
    """
    with _telling(manager):
        manager.wait_until_finished()


@contextlib.contextmanager
def _telling(manager: ocp.CheckpointManager) -> Iterator[None]:
    try:
        yield
    except _REFUSED as error:
        directory = Path(manager.directory)
        why = " ".join(str(error).split())[:300]
        raise SaveError(
            f"a checkpoint could not be written to {directory}: {why}; "
            + _what_stands(directory)
        ) from error


@contextlib.contextmanager
def telling_what_stands(directory: Path) -> Iterator[None]:
    """Say, of what the disk refuses, what was saved before.

    Raises:
      SaveError: in place of any `OSError`.
    """
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        raise SaveError(f"{error}; {_what_stands(directory)}") from error


def _what_stands(directory: Path) -> str:
    steps = []
    with contextlib.suppress(OSError):  # a disk that is gone
        folders = [p for p in _step_folders(directory) if p.name.isdecimal()]
        steps = [int(path.name) for path in folders if is_committed(path)]
    if not steps:
        return f"no checkpoint stands in {directory}"
    return (
        f"the checkpoint of step {max(steps)} stands, the same command goes on from it"
    )


def save(
    manager: ocp.CheckpointManager, step: int, state: Any, meta: Mapping[str, Any]
) -> None:
    """Start saving `state` as `step`; the arrays are copied before this returns.

    Raises:
      SaveError: this save or one before it failed; one that fails in the background is
        told by `check_saves`.
    """
    with _telling(manager):
        _save(manager, step, state, meta)


def _save(
    manager: ocp.CheckpointManager, step: int, state: Any, meta: Mapping[str, Any]
) -> None:
    trees = _state_items(state)
    items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
    manager.check_for_errors()
    sealed = {**meta, CHECKSUMS: checksums(trees)}
    sealed[SEAL] = text_digest(sealed)
    saved = manager.save(
        step,
        args=ocp.args.Composite(**items, **{META: ocp.args.JsonSave(sealed)}),
        force=True,
    )
    if not saved:
        raise RuntimeError(f"checkpoint of step {step} was not saved")


def committed_steps(directory: Path) -> list[int]:
    """Steps that are there with all their items, ascending; others are named in a
    warning, with what they lack."""
    return [step for step, missing in _steps(directory) if not missing]


def readable_steps(directory: Path) -> list[int]:
    """As `committed_steps`, and those of which a part was removed after the save, as
    long as they tell what they are."""
    return [step for step, missing in _steps(directory) if META not in missing]


def _steps(directory: Path) -> list[tuple[int, list[str]]]:
    """(step, items that it lacks) of completed saves; warns of all that lack a part."""
    steps = []
    for path in _step_folders(directory):
        missing = missing_items(path) if path.name.isdecimal() else None
        if missing is None:
            log.warning(
                "checkpoint %s is incomplete (interrupted save, or its %s is lost or "
                "damaged); ignored",
                path,
                RECORD,
            )
            continue
        if missing:
            log.warning(
                "checkpoint %s is incomplete: it lacks %s; no run goes on from it",
                path,
                ", ".join(missing),
            )
        steps.append((int(path.name), missing))
    return sorted(steps)


def latest_step(directory: Path) -> int | None:
    """The last committed step, or None."""
    steps = committed_steps(directory)
    return steps[-1] if steps else None


def is_committed(step_dir: Path) -> bool:
    """Whether the save of this step folder was completed, all items being there."""
    return missing_items(step_dir) == []


def missing_items(step_dir: Path) -> list[str] | None:
    """Items of a completed save that are not there any more.

    Returns:
      None where the save was not completed, or the folder is none of a step.
    """
    try:
        items = _saved_items(step_dir)
    except (OSError, ValueError, LookupError, TypeError):  # none, or a damaged one
        return None
    return sorted(n for n in {*items, META} if not (Path(step_dir) / n).is_dir())


def read_meta(step_dir: Path) -> dict[str, Any]:
    """The JSON item that `save` was given."""
    with _reading(step_dir, META):
        meta = _sealed_meta(step_dir)
    return {key: meta[key] for key in meta if key not in (CHECKSUMS, SEAL)}


def stored_checksums(step_dir: Path) -> dict[str, str]:
    """Checksum of every array by "item/name"; empty where none were saved yet."""
    with _reading(step_dir, META):
        return _sealed_meta(step_dir).get(CHECKSUMS, {})


def check_step(step_dir: Path, items: Collection[str] | None = None) -> bool:
    """Read every array of a step, one after the other.

    Args:
      items: those to be read; None for all.

    Returns:
      Whether they could be compared with checksums; False for a step that was saved
      before there were any.

    Raises:
      UserError: a part of it is missing or damaged.
    """
    with _reading(step_dir, "arrays"):
        return _check_step(step_dir, items)


def _check_step(step_dir: Path, items: Collection[str] | None = None) -> bool:
    missing = missing_items(step_dir)
    if missing or missing is None:
        lacks = ", ".join(missing or ["the mark of a completed save"])
        raise DamagedError(f"{step_dir} lacks {lacks}")
    with reading(step_dir, META):
        stored = _sealed_meta(step_dir).get(CHECKSUMS, {})
    with reading(step_dir, "arrays"):
        shapes = _tree_shapes(step_dir, stored, items)
    for item, tree in shapes.items():
        with reading(step_dir, item):
            for part in _parts_on_host(step_dir, item, tree):
                check_arrays(step_dir, stored, item, part)
    return bool(stored)


def _parts_on_host(step_dir: Path, item: str, shapes: Any) -> Iterator[Any]:
    """An item in trees of numpy arrays: an array at a time where it consists of dicts,
    which can be read in parts, else the whole."""
    names = leaves_by_name(shapes)
    if jax.tree.structure(unflatten(names)) == jax.tree.structure(shapes):
        for name in names:
            yield unflatten({name: _read_leaf(step_dir, item, name)})
        return
    kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
        arguments = ocp.args.PyTreeRestore(restore_args=kinds)
        yield reader.restore(Path(step_dir).absolute() / item, args=arguments)


def _sealed_meta(step_dir: Path) -> dict[str, Any]:
    with contextlib.closing(ocp.JsonCheckpointHandler()) as reader:
        meta = reader.restore(Path(step_dir).absolute() / META)
    rest = {key: meta[key] for key in meta if key != SEAL}
    # The two are written together: one without the other is damage as well.
    if (SEAL in meta or CHECKSUMS in meta) and meta.get(SEAL) != text_digest(rest):
        raise DamagedError(f"{step_dir} is damaged: its {META!r} is not what was saved")
    return meta


def item_names(step_dir: Path) -> list[str]:
    """The items of arrays that a completed step has."""
    with _reading(step_dir, RECORD):
        return _there(step_dir)


def _there(step_dir: Path) -> list[str]:
    names = _saved_items(step_dir)
    return [n for n in names if n != META and (Path(step_dir) / n).is_dir()]


def tree_shapes(step_dir: Path, items: Collection[str] | None = None) -> dict[str, Any]:
    """Shapes and dtypes of every item, readable on any machine, without the arrays.

    Args:
      items: those to be read; None for all.

    Returns:
      item name -> tree of `jax.ShapeDtypeStruct`.
    """
    stored = stored_checksums(step_dir)
    with _reading(step_dir, "arrays"):
        return _tree_shapes(step_dir, stored, items)


def _tree_shapes(
    step_dir: Path, stored: Mapping[str, str], items: Collection[str] | None
) -> dict[str, Any]:
    step_dir = Path(step_dir).absolute()
    shapes = {}
    with _reader() as reader:
        for name in _there(step_dir) if items is None else items:
            shapes[name] = _shapes(reader, step_dir / name)
            check_shapes(step_dir, stored, name, shapes[name])
    return shapes


def restore(step_dir: Path, abstract: Any) -> Any:
    """The state saved in `step_dir`, in the structure and shardings of `abstract`.

    Args:
      abstract: the state with `jax.ShapeDtypeStruct` leaves; a leaf without a sharding
        goes to the first device, whatever mesh it was saved from.

    Raises:
      UserError: the folder's items or shapes are not those of `abstract`.
    """
    step_dir = Path(step_dir).absolute()
    wanted = _state_items(_placed(abstract))
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
    with _reader() as reader:
        for name, target in wanted.items():
            with _reading(step_dir, name):
                arguments = ocp.args.StandardRestore(target)
                fields[name] = reader.restore(step_dir / name, args=arguments)
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
    stored = stored_checksums(step_dir)
    with _reading(step_dir, name), _reader() as reader:
        shapes = _shapes(reader, step_dir / name)
        check_shapes(step_dir, stored, name, shapes)
        arguments = ocp.args.StandardRestore(_placed(shapes, places))
        tree = reader.restore(step_dir / name, args=arguments)
        check_arrays(step_dir, stored, name, tree)
        return tree


def read_leaf(step_dir: Path, name: str, path: str) -> np.ndarray:
    """Read one array of an item, "blocks/ffn/fc1/kernel" of "ema", and nothing else.

    Raises:
      UserError: it is damaged.
    """
    stored = stored_checksums(step_dir)
    with _reading(step_dir, name):
        leaf = _read_leaf(step_dir, name, path)
        check_arrays(step_dir, stored, name, unflatten({path: leaf}))
        return leaf


def _read_leaf(step_dir: Path, name: str, path: str) -> np.ndarray:
    tree: Any = ocp.RestoreArgs(restore_type=np.ndarray)
    shape: Any = jax.ShapeDtypeStruct((), np.float32)  # the stored one counts
    for key in reversed(path.split("/")):
        tree, shape = {key: tree}, {key: shape}
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
        restored = reader.restore(
            Path(step_dir).absolute() / name,
            args=ocp.args.PyTreeRestore(
                item=shape, restore_args=tree, partial_restore=True
            ),
        )
    return leaves_by_name(restored)[path]


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


def _saved_items(step_dir: Path) -> list[str]:
    """The items that Orbax recorded of a step.

    Read without Orbax, which warns at length about every item.

    Raises:
      ValueError: their save was not completed.
    """
    record = json.loads((Path(step_dir) / RECORD).read_text(encoding="utf-8"))
    if not record["commit_timestamp_nsecs"]:
        raise ValueError(f"the save of {step_dir} was not completed")
    return [str(name) for name in dict(record["item_handlers"])]


def _reading(step_dir: Path, what: str) -> contextlib.AbstractContextManager[None]:
    return reading(step_dir, what, functools.partial(_advice, Path(step_dir)))


def _advice(step_dir: Path) -> str:
    """Which checkpoint beside a damaged one is whole, and what to do."""
    step_dir = step_dir.absolute()
    others = [p for p in _step_folders(step_dir.parent) if p.name.isdecimal()]
    for path in sorted(others, key=lambda path: int(path.name), reverse=True):
        if path == step_dir or not is_committed(path):
            continue
        with contextlib.suppress(DamagedError):
            how = "is whole" if _check_step(path) else "can be read, without checksums"
            return f"; {path} {how}: name that, or move {step_dir} away"
    return "; no other checkpoint beside it is whole: go on from another one"


def _reader():
    return contextlib.closing(ocp.StandardCheckpointHandler())


def _shapes(reader: ocp.StandardCheckpointHandler, item: Path) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        reader.metadata(item).tree,
    )


def is_step(path: Path) -> bool:
    """Whether a folder is that of one step, whatever its name and state."""
    return (Path(path) / RECORD).is_file() or (Path(path) / META).is_dir()


def _step_folders(directory: Path) -> list[Path]:
    """Folders of steps, committed or not, and what an interrupted save left."""
    if not Path(directory).is_dir():
        return []
    return [
        path
        for path in sorted(Path(directory).iterdir())
        if path.is_dir()
        and (path.name.isdecimal() or ".orbax-checkpoint-tmp" in path.name)
    ]


def _state_items(state: Any) -> dict[str, Any]:
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


def _free_name(path: Path) -> Path:
    count = 0
    while (target := path.with_name(f"{path.name}.incomplete-{count}")).exists():
        count += 1
    return target
