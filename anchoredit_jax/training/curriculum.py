"""Running all stages in order, each starting from the one before."""

from collections.abc import Sequence
from pathlib import Path

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel.hosts import is_lead
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.strict import unknown_name
from anchoredit_jax.training.loop import StageResult, run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.stage_folder import stage_folder
from anchoredit_jax.training.stopping import stop_requests
from anchoredit_jax.training.workdir import run_alone


def run_curriculum(
    runs: Sequence[RunConfig],
    workdir: str | Path,
    until: str | None = None,
    parent: str | Path | None = None,
    *,
    quiet: bool = False,
    wandb: str | None = None,
    change: bool = False,
) -> dict[str, StageResult]:
    """Run every stage of `runs` in `workdir` that is not finished, in that order.

    Prints one line per stage: how its loss fell, and where its checkpoint is.

    Args:
      until: the last stage to run; None is the last of `runs`.
      parent: what the first stage starts from, see `run_stage`.
      quiet, wandb: as `run_stage`.
      change: stages go on with another configuration, see `run_stage`; what is finished
        stays as it is.

    Raises:
      UserError: as `run_stage`; an unknown `until`; or a stage in `workdir` that began
        from a checkpoint of its parent which is not the parent's last one any more.
      Stopped: a signal asked for it, at whatever moment, also between two stages.
    """
    names = [run.stage for run in runs]
    if until is not None and until not in names:
        raise UserError(unknown_name(f"stage '{until}'", until, names))
    last = names.index(until) if until is not None else len(names) - 1
    results: dict[str, StageResult] = {}
    # Before a folder is made there.
    folders = {name: stage_folder(workdir, name) for name in names[: last + 1]}
    with stop_requests() as stop, run_alone(workdir):
        for run in runs[: last + 1]:
            folder = folders[run.stage]
            if results:
                _check_not_stale(folder, Path(parent), run.stage)
            result = run_stage(
                run, workdir, parent, quiet=quiet, wandb=wandb, change=change, stop=stop
            )
            results[run.stage] = result
            if is_lead():
                print(_summary(run.stage, folder, result), flush=True)
            parent = result.checkpoint
    return results


def _check_not_stale(folder: Path, parent: Path, stage: str) -> None:
    step = manager.latest_step(folder / "checkpoints")
    if step is None:
        return
    lineage = assets.parent_of(manager.read_meta(folder / "checkpoints" / str(step)))
    meta = manager.read_meta(parent)
    if lineage is None or (lineage.stage, lineage.step) != (
        meta["stage"],
        meta["step"],
    ):
        began = f"{lineage.stage} at step {lineage.step}" if lineage else "scratch"
        raise UserError(
            f"{folder} began from {began}, but {meta['stage']} is at step "
            f"{meta['step']} now: delete {folder} to train {stage} anew, or use "
            "another --workdir"
        )


def _summary(stage: str, folder: Path, result: StageResult) -> str:
    rows = read_metrics(folder / "metrics.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    fall = f"loss {losses[0]:.4f} -> {losses[-1]:.4f}" if losses else ""
    how = "" if result.metrics else " (finished before)"
    return f"{stage}: step {result.step}{how}, {fall}"
