"""Going back to an earlier checkpoint: the later ones are moved aside, not deleted.

`set_aside-<k>/` beside `checkpoints/` holds their folders, the rows of metrics behind
the step, the certificate, and `about.json`, which says what was gone back to, and with
which settings.
"""

import json
import shutil
from pathlib import Path

from anchoredit_jax import files
from anchoredit_jax.checkpoint import manager
from anchoredit_jax.config import differing_keys, run_from_json
from anchoredit_jax.errors import UserError
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.training.metrics_log import FILE, read_metrics

ABOUT = "about.json"
CERTIFICATE = "certificate.json"  # of `reproducibility`, where there is one
_FOLDER = "set_aside-"


def starting_step(run: RunConfig, folder: Path, from_step: int | None) -> int | None:
    """The step that a run goes on at; None where there is no checkpoint.

    A command that went back already goes on where it came to: every draw is fixed, so
    to go back again with the same settings would lead to the same steps.

    Args:
      folder: of the stage.
      from_step: the one that was asked for, or None for the last.

    Raises:
      UserError: there is no checkpoint of that step; or none was named, and the last
        one is damaged.
      OSError: the disk does not say what is there.
    """
    checkpoints = folder / "checkpoints"
    if from_step is None:
        return manager.latest_step(checkpoints)
    steps = manager.committed_steps(checkpoints)
    latest = steps[-1] if steps else None
    if from_step == latest:
        return latest
    if latest is not None and _went_back(run, checkpoints / str(latest), from_step):
        return latest
    if from_step not in steps:
        there = ", ".join(map(str, steps)) or "none"
        raise UserError(
            f"--from-step {from_step}: there is no checkpoint of that step in "
            f"{checkpoints} (there: {there}); loop.keep, loop.keep_every and "
            "loop.keep_best say which stay"
        )
    return from_step


def set_aside(run: RunConfig, folder: Path, step: int) -> str | None:
    """Move what is behind `step` out of the way.

    Returns:
      A sentence that names what was moved where; None where nothing is behind.
    """
    later = [
        path
        for path in (folder / "checkpoints").iterdir()
        if path.name.isdecimal() and int(path.name) > step
    ]
    if not later:
        return None
    numbers = [int(found.name.removeprefix(_FOLDER)) for found in _places(folder)]
    place = folder / f"{_FOLDER}{max(numbers, default=-1) + 1}"
    place.mkdir()
    metrics, certificate = folder / FILE, folder / CERTIFICATE
    if metrics.exists():
        rows = [row for row in read_metrics(metrics) if row["step"] > step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        files.write_text(place / FILE, text)
    if certificate.exists():
        shutil.copyfile(certificate, place / CERTIFICATE)
    later.sort(key=lambda path: int(path.name))
    for path in later:
        path.rename(place / path.name)
    about = {"from_step": step, "config": json.loads(run.to_json())}
    files.write_json(place / ABOUT, about)
    named = ", ".join(path.name for path in later)
    return (
        f"{run.stage} goes on from step {step}; the checkpoints of {named} and their "
        f"metrics are in {place}"
    )


def _places(folder: Path) -> list[Path]:
    """The folders that earlier returns made, in their order."""

    def number(path: Path) -> str:
        return path.name.removeprefix(_FOLDER)

    found = [path for path in folder.glob(f"{_FOLDER}*") if number(path).isdecimal()]
    return sorted(found, key=lambda path: int(number(path)))


def _went_back(run: RunConfig, latest: Path, step: int) -> bool:
    """Whether the latest checkpoint came of going back there with these settings."""
    try:
        meta = manager.read_meta(latest)
    except (UserError, OSError):  # which may be why it is gone back
        return False
    return (
        meta.get("back") == step
        and not differing_keys(run, run_from_json(meta["config"]))
        and all(change["step"] <= step for change in meta["changes"])
    )
