"""A run tried in a minute, before hours and machines go into it: `launch/train.py
--check`.

It is the run itself, three steps of it in a folder beside its stages that is removed
again: the data is opened, the step compiled, held-out sessions are measured, and a
checkpoint is written and read.
"""

import contextlib
import dataclasses
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from anchoredit_jax import files
from anchoredit_jax.checkpoint import manager
from anchoredit_jax.checkpoint.keeping import checkpoints_on_disk
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import hosts, make_mesh
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.parents import find_in_workdir, named_parent
from anchoredit_jax.training.stage_folder import stage_folder
from anchoredit_jax.training.state import restore_state
from anchoredit_jax.training.workdir import run_alone

STEPS = 3
TRIAL = ".check"  # folder in the workdir


def check_run(
    run: RunConfig, workdir: str | Path, parent: str | Path | None = None
) -> str:
    """Try a run, and leave nothing behind.

    A run that is there already is held against its configuration as it would be when it
    goes on; the trial then starts from its last checkpoint, if the stage may.

    Args:
      parent: as `run_stage`.

    Returns:
      what was found, a line each: speed and time, memory, checkpoints and disk.

    Raises:
      UserError: the first thing that is wrong, also a disk that is too small.
      DivergedError: a loss or gradient of the trial is not finite.
    """
    stage_folder(workdir, run.stage)  # before a folder is made there
    with run_alone(workdir):
        return _check_run(run, workdir, parent)


def _check_run(run: RunConfig, workdir: str | Path, parent: str | Path | None) -> str:
    folder = stage_folder(workdir, run.stage)
    start = manager.latest_step(folder / "checkpoints")
    if start is not None:
        there = dataclasses.replace(run.loop, steps=start)
        run_stage(run.replace(loop=there), workdir, parent, quiet=True)
    parent = named_parent(parent, workdir)
    if start is not None and run.stage in STAGES[run.stage].parents:
        parent = folder
    elif parent is None:
        parent = find_in_workdir(Path(workdir), run.stage)
    with _removed_again(Path(workdir)) as trial:
        return _try(run, trial, parent, start or 0)


def _try(run: RunConfig, trial: Path, parent: Path | str | None, start: int) -> str:
    loop = dataclasses.replace(
        run.loop, steps=STEPS, log_every=1, checkpoint_every=STEPS, keep=1,
        keep_every=None, keep_best=0, best_by=None,
    )  # fmt: skip
    measured = dataclasses.replace(
        run.eval,
        every=STEPS if run.eval.every else 0,
        edits_every=STEPS if run.eval.edits_every else 0,
    )
    begun = time.monotonic()
    result = run_stage(run.replace(loop=loop, eval=measured), trial, parent, quiet=True)
    restore_state(run, result.checkpoint, make_mesh(run.mesh))
    seconds = time.monotonic() - begun
    # The others may be of sizes that are compiled then.
    of_step = min(
        row["step_seconds"]
        for row in read_metrics(trial / run.stage / "metrics.jsonl")
        if "step_seconds" in row
    )
    left = run.loop.steps - start
    size = sum(f.stat().st_size for f in result.checkpoint.rglob("*") if f.is_file())
    count = checkpoints_on_disk(run.loop)
    free = shutil.disk_usage(trial).free
    told = [
        f"{run.stage}: {STEPS} steps, their checkpoint and all that belongs to them "
        f"took {seconds:.0f} s, most of it to compile",
        f"time: {of_step:.3g} s a step, {_duration(left * of_step)} for {left} steps, "
        "without held-out measures and checkpoints",
        f"memory: {_memory(result.metrics)}",
        f"checkpoints: written and read; {_gib(size)} each, at most {count} at once "
        f"take {_gib(count * size)}; {_gib(free)} are free",
    ]
    if count * size > free:
        raise UserError(
            f"{count} checkpoints of {_gib(size)} do not fit on the disk of "
            f"{trial.parent}, where {_gib(free)} are free: make room, or keep fewer "
            "(loop.keep, loop.keep_every, loop.keep_best)"
        )
    return "\n".join(told)


@contextlib.contextmanager
def _removed_again(workdir: Path) -> Iterator[Path]:
    """A workdir of its own in the run's, which is gone afterwards, as are folders that
    were made for it."""
    trial = workdir.absolute() / TRIAL
    made = [path for path in trial.parents if not path.exists()]
    if hosts.is_lead():
        files.claim(trial, "trial.json", {"of": TRIAL}, "move it away")
        shutil.rmtree(trial)  # of an interrupted one
        files.claim(trial, "trial.json", {"of": TRIAL}, "move it away")
    hosts.barrier("the folder of the trial is there")
    try:
        yield trial
    finally:
        if hosts.is_lead():
            shutil.rmtree(trial, ignore_errors=True)
            for path in made:
                path.rmdir()


def _memory(metrics: dict[str, float]) -> str:
    if "device_memory_gib" in metrics:
        return f"{metrics['device_memory_gib']:.1f} GiB of a device at most"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"{_gib(peak)} of this process at most"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
