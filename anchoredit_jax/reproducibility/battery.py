"""The standard trials of a run at toy size: what keeps its bits, and what does not.

Every run is made in processes of its own, on the CPU.
"""

import concurrent.futures
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from anchoredit_jax.config import load_config, split_spec
from anchoredit_jax.errors import UserError
from anchoredit_jax.reproducibility import certificate as certificates
from anchoredit_jax.reproducibility.comparing import compare
from anchoredit_jax.reproducibility.distance import checkpoint_distances
from anchoredit_jax.reproducibility.legs import Leg, run_leg
from anchoredit_jax.reproducibility.outcomes import Outcome
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.table import STAGES

AT_ONCE = 2  # runs
# Of sums in another order, after the toy's twelve steps: the largest relative
# difference of a step's loss, and of an array of parameters by its norm.
LOSS, PARAMETERS = 1e-5, 1e-3


@dataclasses.dataclass(frozen=True)
class Trial:
    """A run that is held against another.

    Attributes:
      name: what is tried.
      settings: added to the configuration.
      legs: the parts of the run, one after the other.
      against: name of the trial that it must equal; None: nothing to compare.
      bits: expected to be equal in every bit; else within `LOSS` and `PARAMETERS`.
      why: the reason for what is expected.
    """

    name: str
    settings: str = ""
    legs: tuple[Leg, ...] = (Leg(),)
    against: str | None = "straight"
    bits: bool = True
    why: str = ""


def trials(run: RunConfig) -> tuple[Trial, ...]:
    """The battery for a run; each is compared with an earlier one."""
    steps, batch = run.loop.steps, run.data.batch
    cuts = sorted({max(1, steps // 4), max(1, steps * 5 // 12), max(1, steps * 3 // 4)})
    stops = tuple(Leg(cut) for cut in cuts if cut < steps)
    mesh = "mesh.fsdp=2"
    return (
        Trial("straight", against=None),
        Trial("the same again", why="compiled anew from the same program"),
        Trial(
            f"interrupted at {', '.join(str(cut) for cut in cuts)}",
            legs=(*stops, Leg()),
            why="batch and draws follow from the step; a checkpoint holds all the rest",
        ),
        Trial(
            "a worker process makes the batches",
            "data.workers=1",
            why="the batch of a step is a function of its number",
        ),
        Trial(
            f"another mesh ({mesh})",
            mesh,
            (Leg(devices=2),),
            bits=False,
            why="same data and draws; sums over the batch in another order",
        ),
        Trial(
            "that mesh on two hosts, from the middle on one",
            mesh,
            (Leg(max(1, steps // 2), processes=2), Leg(devices=2)),
            against=f"another mesh ({mesh})",
            why="same parts of the same sums, and two numbers have one order",
        ),
        Trial(
            f"accumulated {batch}x1 against {batch}",
            f"optimizer.accumulate={batch}",
            bits=False,
            why="same data and draws; the batch is summed one sample after the other",
        ),
    )


def run_battery(spec: str, only: str = "", quiet: bool = False) -> list[Outcome]:
    """Make all trials of a configuration.

    Args:
      spec: names the configuration of a stage that starts from scratch.
      only: part of the names of the trials to make; others run where those need them.

    Raises:
      UserError: a stage with a parent, no trial of that name, or a run that failed.
    """
    run = load_config(spec)
    if run.stage != "single_turn" and STAGES[run.stage].parents:
        raise UserError(
            f"matrix: stage {run.stage} starts from another one, give a configuration "
            "of single_turn"
        )
    known = {trial.name: trial for trial in trials(run)}
    chosen = [t for name, t in known.items() if only in name and t.against]
    if not chosen:
        raise UserError(f"matrix: no trial is named {only!r}: {', '.join(known)}")
    needed = {t.against for t in chosen} | {t.name for t in chosen}
    with tempfile.TemporaryDirectory() as folder:
        made = {name: Path(folder) / str(n) for n, name in enumerate(known)}
        with (
            concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool,
            tqdm(total=len(needed), unit="run", disable=quiet) as bar,
        ):
            started = [
                pool.submit(_make, known[name], spec, made[name])
                for name in known
                if name in needed
            ]
            for done in concurrent.futures.as_completed(started):
                done.result()
                bar.update()
        return [
            judge(trial, made[trial.against] / run.stage, made[trial.name] / run.stage)
            for trial in chosen
        ]


def judge(trial: Trial, left: Path, right: Path) -> Outcome:
    """Compare the certificates of two stage folders, and their last parameters."""
    ours, theirs = certificates.read(left), certificates.read(right)
    found = compare(ours, theirs)
    if found.equal:
        return Outcome(trial.name, f"bit-equal, {found.steps} steps", trial.why, True)
    first = found.first[0]
    step = found.checkpoints[-1]
    names = [n for n in ours.checkpoints[step] if n.startswith("params/")]
    folders = [folder / "checkpoints" / str(step) for folder in (left, right)]
    apart = checkpoint_distances(*folders, names).values()
    parameters = max(distance.relative for distance in apart)
    result = (
        f"loss to {found.loss:.1e} (allowed {LOSS:.0e}), parameters to "
        f"{parameters:.1e} ({PARAMETERS:.0e}), relative; differs first at step "
        f"{first.step}: {first.kind} ({first.name})"
    )
    within = (
        not trial.bits
        and first.kind not in ("data", "draws")
        and found.loss <= LOSS
        and parameters <= PARAMETERS
    )
    return Outcome(trial.name, result, trial.why, within)


def _make(trial: Trial, spec: str, workdir: Path) -> None:
    for leg in trial.legs:
        settings = [part for part in (trial.settings, "loop.keep=none") if part]
        if leg.last is not None:
            settings.append(f"loop.steps={leg.last}")
        run_leg(_with(spec, settings), workdir, leg)


def _with(spec: str, settings: Sequence[str]) -> str:
    path, argument = split_spec(spec)
    return f"{path}:" + ",".join([*([argument] if argument else []), *settings])
