"""Orbax, thinly: asynchronous, committed-only checkpoints of a training state.

A step is a folder `<checkpoints>/<step>` with one Orbax item per field of the state
("params", "ema", "opt_state", ...; fields without arrays are left out) and a JSON item
"meta". Each field can so be read by itself: editing reads "ema" and nothing else.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import LatestN, PreservationPolicy

from anchoredit_jax.errors import UserError
from anchoredit_jax.trees import leaves_by_name

log = logging.getLogger(__name__)

META = "meta"
LEAF = "value"  # the key under which a field that is a bare array is stored


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
        cleanup_tmp_directories=True,
    )
    return ocp.CheckpointManager(directory, options=options)


def save(
    manager: ocp.CheckpointManager, step: int, state: Any, meta: Mapping[str, Any]
) -> None:
    """Start saving `state` as `step`; the arrays are copied before this returns.

    A save that failed in the background raises here at the next save, or in
    `manager.wait_until_finished()`: a run never goes on without checkpoints.
    """
    items = {
        name: ocp.args.StandardSave(tree) for name, tree in _state_items(state).items()
    }
    manager.check_for_errors()
    saved = manager.save(
        step,
        args=ocp.args.Composite(**items, **{META: ocp.args.JsonSave(dict(meta))}),
        force=True,
    )
    if not saved:
        raise RuntimeError(f"checkpoint of step {step} was not saved")


def committed_steps(directory: Path) -> list[int]:
    """Steps whose save was completed, ascending; others are named in a warning."""
    steps = []
    for path in _step_folders(directory):
        if path.name.isdecimal() and is_committed(path):
            steps.append(int(path.name))
        else:
            log.warning("checkpoint %s is incomplete (interrupted save); ignored", path)
    return sorted(steps)


def latest_step(directory: Path) -> int | None:
    """The last committed step, or None."""
    steps = committed_steps(directory)
    return steps[-1] if steps else None


def is_committed(step_dir: Path) -> bool:
    """Whether the save of this step folder was completed, all items being there."""
    try:
        record = _record(step_dir)
    except FileNotFoundError:  # there is none, or another process has just removed it
        return False
    items = record.item_handlers
    return (
        bool(record.commit_timestamp_nsecs)
        and isinstance(items, dict)
        and META in items
        and all((step_dir / name).is_dir() for name in items)
    )


def read_meta(step_dir: Path) -> dict[str, Any]:
    """The JSON item that `save` was given."""
    try:
        with contextlib.closing(ocp.JsonCheckpointHandler()) as reader:
            return reader.restore(Path(step_dir).absolute() / META)
    except (OSError, ValueError) as error:
        raise UserError(f"{step_dir} is not a checkpoint of ours: {error}") from error


def tree_shapes(step_dir: Path) -> dict[str, Any]:
    """Shapes and dtypes of every item, readable on any machine, without the arrays.

    Returns:
      item name -> tree of `jax.ShapeDtypeStruct`.
    """
    step_dir = Path(step_dir).absolute()
    items = _record(step_dir).item_handlers
    with _reader() as reader:
        return {
            name: _shapes(reader, step_dir / name) for name in items if name != META
        }


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
    fields = {}
    with _reader() as reader:
        for name, target in wanted.items():
            arguments = ocp.args.StandardRestore(target)
            fields[name] = reader.restore(step_dir / name, args=arguments)
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
        raise UserError(f"{step_dir} holds no '{name}'")
    with _reader() as reader:
        target = _placed(_shapes(reader, step_dir / name), places)
        return reader.restore(step_dir / name, args=ocp.args.StandardRestore(target))


def read_leaf(step_dir: Path, name: str, path: str) -> np.ndarray:
    """Read one array of an item, "blocks/ffn/fc1/kernel" of "ema", and nothing else."""
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


def _record(step_dir: Path) -> ocp.metadata.StepMetadata:
    """What Orbax wrote of a step: its items, and when their save was completed."""
    with contextlib.closing(ocp.CompositeCheckpointHandler()) as reader:
        return ocp.Checkpointer(reader).metadata(Path(step_dir).absolute())


def _reader():
    return contextlib.closing(ocp.StandardCheckpointHandler())


def _shapes(reader: ocp.StandardCheckpointHandler, item: Path) -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        reader.metadata(item).tree,
    )


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
