"""Orbax, thinly: asynchronous, committed-only checkpoints of a training state.

A step is a folder `<checkpoints>/<step>` with one Orbax item per field of the state
("params", "ema", "opt_state", ...; fields without arrays are left out) and a JSON item
"meta". Each field can so be read by itself: editing reads "ema" and nothing else.

"meta" holds a checksum of every array, and a digest of itself: what is read later is
what was saved, or refused. Checkpoints of earlier versions have none and are read as
they are.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import LatestN, PreservationPolicy

from anchoredit_jax.checkpoint.checking import (
    CHECKSUMS,
    SEAL,
    check_arrays_of,
    check_step,
    latest_step,
)
from anchoredit_jax.checkpoint.checksums import checksums, text_digest
from anchoredit_jax.checkpoint.damage import DamagedError
from anchoredit_jax.checkpoint.reading import (
    LEAF,
    item_names,
    read_item,
    read_leaf,
    read_meta,
    restore,
    state_items,
    stored_checksums,
    tree_shapes,
)
from anchoredit_jax.checkpoint.steps import (
    META,
    RECORD,
    check_place,
    committed_steps,
    is_committed,
    is_step,
    is_unfinished,
    last_readable,
    missing_items,
    step_folders,
)

__all__ = [
    "CHECKSUMS",
    "LEAF",
    "META",
    "RECORD",
    "SEAL",
    "check_place",
    "check_step",
    "committed_steps",
    "is_committed",
    "is_step",
    "item_names",
    "last_readable",
    "latest_step",
    "missing_items",
    "open_manager",
    "read_back",
    "read_item",
    "read_leaf",
    "read_meta",
    "restore",
    "save",
    "stored_checksums",
    "tree_shapes",
]

# Orbax's log is not for people: what goes wrong is raised as well, and told in a line.
logging.getLogger("absl").addFilter(
    lambda record: f"{os.sep}orbax{os.sep}" not in record.pathname
)

READ_BACK = 2**26  # bytes of the arrays of a run's first save that are read again


def open_manager(
    directory: Path, keep: int | None | PreservationPolicy
) -> ocp.CheckpointManager:
    """A manager that writes into `directory`; close it with `.close()`.

    Folders of saves that never finished are put out of the way first, so that they
    neither count as steps nor block a new save of the same step; what is damaged, or
    cannot be read, stays where it is. Of several processes all have to call this, on
    one file system.

    Args:
      keep: how many of the latest steps stay, None for all; or what says which, see
        `keeping.policy_of`.

    Raises:
      UserError: what is saved there could not be read, see `check_place`.
      OSError: the disk does not say what is there.
    """
    directory = Path(directory).absolute()
    check_place(directory)
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        for path in step_folders(directory):
            if path.name.isdecimal() and is_unfinished(path):
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

    def close(kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None and issubclass(kind, SaveError):
            return  # closing would wait minutes for what is not written any more
        # Of a block that failed its own error is what is told.
        with contextlib.suppress(*_REFUSED) if kind else _telling(manager):
            manager.close()

    with contextlib.ExitStack() as stack:
        stack.push(close)
        yield manager


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
        folders = [p for p in step_folders(directory) if p.name.isdecimal()]
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
    trees = state_items(state)
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


def read_back(manager: ocp.CheckpointManager, step: int) -> None:
    """Wait for a save, and see that it can be read: all arrays are there, and the
    numbers of the small ones are those that were saved.

    Of several processes all have to call this; the first one reads.

    Raises:
      DamagedError: it cannot.
      SaveError: the save failed.
    """
    with _telling(manager):
        manager.wait_until_finished()
    if jax.process_index() != 0:
        return
    path = Path(manager.directory) / str(step)
    try:
        check_arrays_of(path, limit=READ_BACK)
    except DamagedError as error:
        raise DamagedError(
            f"a checkpoint was saved here and cannot be read again ({error}): do not "
            "train on; give a --workdir on another disk",
            advised=True,
        ) from error


def _free_name(path: Path) -> Path:
    count = 0
    while (target := path.with_name(f"{path.name}.incomplete-{count}")).exists():
        count += 1
    return target
