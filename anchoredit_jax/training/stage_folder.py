"""The folder of a stage in a workdir, and whether it is one."""

import os
from pathlib import Path

from anchoredit_jax import files
from anchoredit_jax.checkpoint import manager
from anchoredit_jax.errors import UserError

CONFIG = "config.json"


def stage_folder(workdir: str | Path, stage: str) -> Path:
    """`workdir/<stage>`, which is missing, empty, or was written by a run.

    Raises:
      UserError: a file is in the place of either, the folder holds other files, or
        checkpoints cannot be kept at such a path.
    """
    folder = Path(workdir).absolute() / stage
    for path in (folder, *folder.parents):
        if os.path.lexists(path) and not path.is_dir():
            what = "file" if path.exists() else "link to nowhere"
            raise UserError(f"workdir: {str(path)!r} is a {what}, expected a folder")
    manager.check_place(folder)
    advice = "give another --workdir, or move them away"
    what = "the configuration of a run"
    files.check_replaceable(folder / CONFIG, _is_config, what, advice)
    if (folder / CONFIG).exists() or not folder.is_dir():
        return folder
    others = [path.name for path in folder.iterdir() if not files.is_passing(path)]
    saved = folder / "checkpoints"
    if others and (saved.is_file() or manager.latest_step(saved) is None):
        raise UserError(
            f"{str(folder)!r} holds other files than a run's ({min(others)!r}, no "
            f"{CONFIG} and no checkpoint): {advice}"
        )
    return folder


def _is_config(path: Path) -> bool:
    return files.read_json(path).keys() >= {"stage", "model", "optimizer", "data"}
