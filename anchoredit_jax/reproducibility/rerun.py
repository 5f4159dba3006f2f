"""A certified run done again, and held against its certificate."""

import dataclasses
import shutil
from pathlib import Path

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.errors import UserError
from anchoredit_jax.reproducibility import certificate as certificates
from anchoredit_jax.reproducibility.certificate import Certificate
from anchoredit_jax.reproducibility.comparing import Comparison, compare
from anchoredit_jax.reproducibility.distance import checkpoint_distances
from anchoredit_jax.reproducibility.recorder import Recorder
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.training.loop import StageResult, run_stage


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps first < step <= last; last None is the certificate's."""

    first: int = 0
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Steps":
        """Read steps that are written as "0:20", "5:" or ":20".

        Raises:
          UserError: the text has another form, or names no step.
        """
        first, colon, last = text.partition(":")
        given = [part for part in (first, last) if part]
        if not colon or not all(part.isdecimal() for part in given):
            raise UserError(f"--steps must be FIRST:LAST, as 0:20, got {text!r}")
        steps = cls(int(first or 0), int(last) if last else None)
        if steps.last is not None and steps.last <= steps.first:
            raise UserError(f"--steps {text}: LAST must be more than FIRST")
        return steps


def run_certified(
    run: RunConfig,
    workdir: str | Path,
    parent: str | Path | None = None,
    *,
    every: int = 1,
    quiet: bool = False,
    change: bool = False,
    from_step: int | None = None,
) -> StageResult:
    """`run_stage`, with a certificate beside the checkpoints.

    Args:
      change, from_step: as of `run_stage`.

    Raises:
      UserError: also where the run was finished before, without a certificate.
    """
    recorder = Recorder(every)
    result = run_stage(
        run, workdir, parent, quiet=quiet, observer=recorder, change=change,
        from_step=from_step,
    )  # fmt: skip
    path = result.checkpoint.parents[1] / certificates.NAME
    if recorder.path is None and not path.exists():
        raise UserError(
            f"the run in {path.parent} was finished without a certificate: run it in "
            "another --workdir"
        )
    return result


def check(
    run: RunConfig,
    against: str | Path,
    workdir: str | Path,
    steps: Steps = Steps(),  # noqa: B008  (frozen)
    parent: str | Path | None = None,
    *,
    quiet: bool = False,
) -> tuple[Comparison, dict[str, str]]:
    """Do the steps of a certificate again and compare.

    Args:
      against: certificate, or the folder that it is in.
      workdir: an empty folder for the rerun.
      steps: to do; where they do not start at 0, the checkpoint of the first beside
        the certificate is what they start from.
      parent: by default the one in the certified run's workdir.

    Returns:
      (comparison, name of an array -> how far apart the two are, where both
      checkpoints are there).

    Raises:
      UserError: no certificate, another stage, a checkpoint that is not there, or a
        workdir that has a run already.
    """
    wanted, folder = certificates.read(against), _folder(against)
    if wanted.stage != run.stage:
        raise UserError(
            f"{str(against)!r} certifies stage {wanted.stage}, the configuration is of "
            f"{run.stage}: add stage={wanted.stage} to --config"
        )
    last = steps.last or max(
        [0, *(row.step for row in wanted.rows), *wanted.checkpoints]
    )
    if last <= steps.first:
        raise UserError(f"{str(against)!r} has no steps after {steps.first}")
    inside = [
        change["step"]
        for change in wanted.changes
        if steps.first < change["step"] < last
    ]
    if inside:
        raise UserError(
            f"{str(against)!r} certifies a run that was changed behind step "
            f"{inside[0]}: check --steps {steps.first}:{inside[0]} with the settings "
            f"of before, and {inside[0]}:{last} with those of after"
        )
    ours = Path(workdir).absolute() / run.stage
    if manager.latest_step(ours / "checkpoints") is not None:
        raise UserError(f"{ours} holds a run already: give check an empty --workdir")
    if ours.is_dir() and any(ours.iterdir()):
        raise UserError(f"{ours} is not empty: give check an empty --workdir")
    if steps.first:
        _start_from(folder / "checkpoints", ours / "checkpoints", steps.first)
    elif parent is None:
        parent = _parent_beside(folder, wanted)
    loop = dataclasses.replace(run.loop, steps=last, keep=None)
    run_certified(
        run.replace(loop=loop), workdir, parent, every=wanted.every, quiet=quiet,
        change=any(change["step"] == steps.first for change in wanted.changes),
    )  # fmt: skip
    found = certificates.read(ours)
    span = (steps.first, last)
    comparison = compare(wanted.between(*span), found.between(*span))
    return comparison, _distances(comparison, folder, ours)


def _distances(comparison: Comparison, left: Path, right: Path) -> dict[str, str]:
    names = [d.name for d in comparison.first if d.kind == "parameters"]
    if not names:
        return {}
    folders = [f / "checkpoints" / str(comparison.first[0].step) for f in (left, right)]
    if not all(manager.is_committed(folder) for folder in folders):
        return {}
    return {
        name: apart.describe()
        for name, apart in checkpoint_distances(*folders, names).items()
    }


def _start_from(theirs: Path, ours: Path, step: int) -> None:
    if not manager.is_committed(theirs / str(step)):
        there = ", ".join(str(s) for s in manager.committed_steps(theirs)) or "none"
        raise UserError(
            f"--steps {step}: starts from the checkpoint of that step, which is not in "
            f"{theirs} (there: {there}); keep more of them with loop.keep, or start at "
            "0"
        )
    shutil.copytree(theirs / str(step), ours / str(step))


def _parent_beside(folder: Path, certificate: Certificate) -> Path | None:
    parent = certificate.parent
    if parent is None:
        return None
    path = folder.parent / parent["stage"] / "checkpoints" / str(parent["step"])
    if not manager.is_committed(path):
        raise UserError(
            f"this run began from {parent['stage']} at step {parent['step']}, which is "
            f"not in {path}: name it with --parent"
        )
    return path


def _folder(against: str | Path) -> Path:
    path = Path(against).absolute()
    return path if path.is_dir() else path.parent
