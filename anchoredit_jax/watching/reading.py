"""The workdirs that a page is about."""

from collections.abc import Sequence
from pathlib import Path

from anchoredit_jax.errors import UserError
from anchoredit_jax.watching.records import WorkdirRecord, order_of
from anchoredit_jax.watching.stage_files import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    SAMPLES,
    is_stage,
    read_stage,
)


def read_workdirs(paths: Sequence[Path]) -> list[WorkdirRecord]:
    """One or two workdirs, each with a name of its own.

    Raises:
      UserError: more than two, one twice, or one without stages.
    """
    if not 1 <= len(paths) <= 2:
        raise UserError(f"--workdir: give one or two, given {len(paths)}")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError(f"--workdir {str(paths[0])!r} is given twice: give another")
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [read_workdir(path, name) for path, name in zip(paths, names, strict=True)]


def read_workdir(path: Path, name: str) -> WorkdirRecord:
    """All that is to be seen of a workdir.

    Raises:
      UserError: no such folder, or no stage in it; says what was looked for.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(
            f"workdir {str(path)!r} {what}: give the folder that a run was started "
            "with (its --workdir)"
        )
    folders = [folder for folder in path.iterdir() if is_stage(folder)]
    if not folders:
        stage = is_stage(path) and f"it is a stage's own folder: give {path.parent}"
        raise UserError(
            f"no stage in {str(path)!r}: looked for folders with {METRICS}, {CONFIG}, "
            f"{CHECKPOINTS} or {SAMPLES}; "
            + (stage or "has a run been started with this --workdir?")
        )
    folders.sort(key=lambda folder: order_of(folder.name))
    return WorkdirRecord(name, path, tuple(map(read_stage, folders)))
