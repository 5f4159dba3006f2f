"""The folders of steps: which there are, and what each still has.

Three things are kept apart. A save that never finished is known by its name, or by its
own record: it may be put out of the way. What was saved and lost a part since is
damaged. What the disk does not give at the moment (no permission, a network that is
away) is an `OSError`: nobody knows then what is there.
"""

import errno
import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from anchoredit_jax.errors import UserError
from anchoredit_jax.files import check_plain

log = logging.getLogger(__name__)

META = "meta"
RECORD = "_CHECKPOINT_METADATA"  # Orbax's file in the folder of every step
TEMPORARY = ".orbax-checkpoint-tmp"  # in the name of a save that goes on
COMMITTED = "commit_success.txt"  # what Orbax writes last
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # other errors are the disk's


def committed_steps(directory: Path) -> list[int]:
    """Steps that are there with all their items, ascending; others are named in a
    warning, with what they lack."""
    steps = []
    for path in step_folders(directory):
        try:
            if told_missing(path) == []:
                steps.append(int(path.name))
        except OSError as error:  # which is no reason not to take another one
            log.warning("%s", error)
    return steps


def last_readable(directory: Path) -> int | None:
    """The last step that was saved, though a part of it may have been removed since, as
    long as it tells what it is.

    Raises:
      OSError: the disk does not say whether it is a later one.
    """
    for path in reversed(step_folders(directory)):
        missing = told_missing(path)
        if missing is not None and not {META, RECORD}.intersection(missing):
            return int(path.name)
    return None


def told_missing(path: Path) -> list[str] | None:
    """As `missing_items`, with a warning of a step that is not whole."""
    missing = missing_items(path) if path.name.isdecimal() else None
    if missing is None:
        log.warning("checkpoint %s is incomplete (interrupted save); ignored", path)
    elif missing:
        lacks = ", ".join(missing)
        log.warning("checkpoint %s is incomplete: it lacks %s", path, lacks)
    return missing


def is_committed(step_dir: Path) -> bool:
    """Whether the save of this step folder was completed, all items being there."""
    return missing_items(step_dir) == []


def missing_items(step_dir: Path) -> list[str] | None:
    """What a completed save does not have any more: items, or `RECORD`, which is lost
    or damaged.

    Returns:
      None where the save was not completed, or nothing is there.

    Raises:
      OSError: the disk does not say.
    """
    step_dir = Path(step_dir)
    try:
        items = saved_items(step_dir)
    except FileNotFoundError:
        for path in (step_dir, step_dir / RECORD):
            _mode(path)  # a link to nowhere is no unfinished save
        kept = (META, COMMITTED)
        return [RECORD] if any(_mode(step_dir / name) for name in kept) else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return [RECORD]
    except OSError as error:
        if error.errno not in ABSENT:
            raise not_now(error, step_dir) from error
        return [RECORD]
    if items is None:
        return None
    return sorted(n for n in {*items, META} if not _is_folder(step_dir / n))


def is_unfinished(step_dir: Path) -> bool:
    """Whether a save is known not to have been completed."""
    try:
        return missing_items(step_dir) is None
    except OSError:
        return False


def saved_items(step_dir: Path) -> list[str] | None:
    """The items that Orbax recorded of a step; None where their save did not end.

    Read without Orbax, which warns at length about every item.
    """
    path = Path(step_dir) / RECORD
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is no file")
    record = json.loads(path.read_text(encoding="utf-8"))
    if not record["commit_timestamp_nsecs"]:
        return None
    return [str(name) for name in dict(record["item_handlers"])]


def items_there(step_dir: Path) -> list[str]:
    """The items of arrays that a completed step still has."""
    names = saved_items(step_dir) or []
    return [n for n in names if n != META and _is_folder(Path(step_dir) / n)]


def is_step(path: Path) -> bool:
    """Whether a folder is that of one step, whatever its name and state."""
    return (Path(path) / RECORD).is_file() or (Path(path) / META).is_dir()


def step_folders(directory: Path) -> list[Path]:
    """What lies there under the number of a step, and what saves that go on or were
    interrupted left, by their numbers.

    Raises:
      UserError: it is no folder.
      OSError: the disk does not say.
    """
    directory = Path(directory)
    if not (mode := _mode(directory)):
        return []
    if not stat.S_ISDIR(mode):
        raise UserError(f"{str(directory)!r} is a file, expected a folder")
    try:
        found = list(directory.iterdir())
    except OSError as error:
        raise not_now(error, directory) from error
    steps = [p for p in found if p.name.isdecimal() or TEMPORARY in p.name]
    return sorted(steps, key=lambda path: (_number(path.name), path.name))


def _number(name: str) -> int:
    start = name.partition(".")[0]
    return int(start) if start.isdecimal() else -1


def check_given(folder: Path) -> None:
    """Open every file of a folder, of which something could not be read.

    Raises:
      OSError: the disk does not give one at the moment.
    """
    for path in sorted(Path(folder).rglob("*")):
        if stat.S_ISREG(_mode(path)):
            try:
                with open(path, "rb") as file:
                    file.read(1)
            except OSError as error:
                raise not_now(error, path) from error


def not_now(error: OSError, path: Path) -> OSError:
    """The error about checkpoints that the disk does not give at the moment."""
    told = (
        f"{error.strerror or error}; what is saved there cannot be read at "
        "the moment, and nothing goes on without it: see that the disk gives it, or "
        "move it away"
    )
    return OSError(error.errno, told, str(path))


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """Of what lies there, 0 where nothing does. `Path.exists` takes a link to nowhere
    for nothing, and of later Pythons all that the disk refuses too."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno not in ABSENT or path.is_symlink():
            raise not_now(error, path) from error
        return 0


def check_place(directory: Path) -> None:
    """UserError for a folder in which checkpoints would be saved that nobody can read,
    see `files.check_plain`."""
    check_plain(directory, "checkpoints")


@contextmanager
def plain_path(step_dir: Path) -> Iterator[Path]:
    """A path to a folder that Orbax takes as it is written: wherever a checkpoint was
    copied to, it is read."""
    path = Path(step_dir).absolute()
    try:
        check_place(path)
    except UserError:
        with TemporaryDirectory() as folder:
            link = Path(folder) / "step"
            link.symlink_to(path, target_is_directory=True)
            yield link
    else:
        yield path
