"""What can be read of a step, and which other one is whole where it cannot."""

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from anchoredit_jax.checkpoint.checksums import text_digest
from anchoredit_jax.checkpoint.damage import (
    DamagedError,
    check_arrays,
    check_shapes,
    reading,
)
from anchoredit_jax.checkpoint.safetensors_stream import nbytes
from anchoredit_jax.checkpoint.steps import (
    META,
    items_there,
    missing_items,
    plain_path,
    step_folders,
    told_missing,
)
from anchoredit_jax.trees import leaves_by_name, unflatten

CHECKSUMS, SEAL = "checksums", "digest"  # keys of "meta", not of what `save` is given


@contextlib.contextmanager
def reading_step(step_dir: Path, what: str) -> Iterator[Path]:
    """Where to read a step's folder; what cannot be read is told in one line, with the
    step beside it that is whole.

    Args:
      what: is read, such as "ema".

    Raises:
      DamagedError: it is not what was saved.
      OSError: the disk does not give it at the moment.
    """
    try:
        with reading(step_dir, what), plain_path(step_dir) as place:
            yield place
    except DamagedError as error:
        if error.advised:
            raise
        raise DamagedError(f"{error}{_advice(step_dir)}", advised=True) from error


def latest_step(directory: Path) -> int | None:
    """The step that a run goes on at; None where nothing was ever saved.

    Raises:
      DamagedError: the last one lost a part, or none is whole: a run does not go back,
        nor begin anew beside checkpoints, without being told to.
      OSError: the disk does not say what is there.
    """
    unfinished = []
    for path in reversed(step_folders(Path(directory).absolute())):
        missing = told_missing(path)
        if missing == []:
            return int(path.name)
        if missing:
            raise _lacking(path, missing)
        if path.name.isdecimal():  # can be saved again, after a step that is whole
            unfinished.append(path)
    if unfinished:
        raise _lacking(unfinished[0], ["the mark of a completed save"])
    return None


def _lacking(path: Path, missing: Collection[str]) -> DamagedError:
    told = f"{path} is damaged: it lacks {', '.join(missing)}{_advice(path)}"
    return DamagedError(told, advised=True)


def _advice(step_dir: Path) -> str:
    """Which checkpoint beside a damaged one is whole, and what to do."""
    step_dir = Path(step_dir).absolute()
    folder = step_dir.parent
    for path in reversed(step_folders(folder)):
        if path == step_dir or not path.name.isdecimal():
            continue
        with contextlib.suppress(DamagedError, OSError):
            compared = check_arrays_of(path)
            how = "is whole" if compared else "can be read, without checksums"
            return f"; {path} {how}: name that{_to_go_on(path)}"
    return (
        "; no other checkpoint beside it is whole: go on from another one, or move "
        f"{folder} away to begin anew"
    )


def _to_go_on(step_dir: Path) -> str:
    """How a run goes on from a step that is not its last one."""
    if step_dir.parent.name != "checkpoints":  # of no run
        return ""
    stage, workdir = step_dir.parents[1].name, step_dir.parents[2]
    return (
        f", or train on from it with launch/train.py --config FILE:stage={stage} "
        f"--workdir {workdir} --from-step {step_dir.name}"
    )


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
    with reading_step(step_dir, "arrays"):
        return check_arrays_of(step_dir, items)


def check_arrays_of(
    step_dir: Path, items: Collection[str] | None = None, limit: float = math.inf
) -> bool:
    """As `check_step`, without a word on other steps.

    Args:
      limit: bytes that are read of the arrays, the smallest first; of all others only
        that they are there, with their shapes.
    """
    missing = missing_items(step_dir)
    if missing or missing is None:
        lacks = ", ".join(missing or ["the mark of a completed save"])
        raise DamagedError(f"{step_dir} lacks {lacks}")
    with reading(step_dir, META), plain_path(step_dir) as place:
        stored = sealed_meta(step_dir, place).get(CHECKSUMS, {})
    with reading(step_dir, "arrays"), plain_path(step_dir) as place:
        shapes = shapes_of(step_dir, place, stored, items)
    for item, tree in shapes.items():
        with reading(step_dir, item), plain_path(step_dir) as place:
            for part in _parts_on_host(place / item, tree, limit):
                check_arrays(step_dir, stored, item, part)
    return bool(stored)


def _parts_on_host(item: Path, shapes: Any, limit: float) -> Iterator[Any]:
    """An item in trees of numpy arrays: an array at a time where it consists of dicts,
    which can be read in parts, else the whole."""
    names = leaves_by_name(shapes)
    if jax.tree.structure(unflatten(names)) == jax.tree.structure(shapes):
        for name in sorted(names, key=lambda name: nbytes(names[name])):
            limit -= nbytes(names[name])
            if limit >= 0:
                yield unflatten({name: leaf_of(item, name)})
    elif sum(map(nbytes, names.values())) <= limit:
        kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
        with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
            arguments = ocp.args.PyTreeRestore(restore_args=kinds)
            yield reader.restore(item, args=arguments)


def sealed_meta(step_dir: Path, place: Path) -> dict[str, Any]:
    """All that the JSON item holds; `place` is a plain path to the same folder."""
    with contextlib.closing(ocp.JsonCheckpointHandler()) as reader:
        meta = reader.restore(place / META)
    rest = {key: meta[key] for key in meta if key != SEAL}
    # The two are written together: one without the other is damage as well.
    if (SEAL in meta or CHECKSUMS in meta) and meta.get(SEAL) != text_digest(rest):
        raise DamagedError(f"{step_dir} is damaged: its {META!r} is not what was saved")
    return meta


def shapes_of(
    step_dir: Path,
    place: Path,
    stored: Mapping[str, str],
    items: Collection[str] | None = None,
) -> dict[str, Any]:
    """Item -> tree of shapes, as they were saved; see `sealed_meta`."""
    shapes = {}
    with contextlib.closing(ocp.StandardCheckpointHandler()) as reader:
        for name in items_there(step_dir) if items is None else items:
            shapes[name] = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
                reader.metadata(place / name).tree,
            )
            check_shapes(step_dir, stored, name, shapes[name])
    return shapes


def leaf_of(item: Path, path: str) -> np.ndarray:
    """One array of an item, and nothing else."""
    tree: Any = ocp.RestoreArgs(restore_type=np.ndarray)
    shape: Any = jax.ShapeDtypeStruct((), np.float32)  # the stored one counts
    for key in reversed(path.split("/")):
        tree, shape = {key: tree}, {key: shape}
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as reader:
        restored = reader.restore(
            item,
            args=ocp.args.PyTreeRestore(
                item=shape, restore_args=tree, partial_restore=True
            ),
        )
    return leaves_by_name(restored)[path]
