"""What `launch/plan.py --all` compiles: the tables of the configurations of a size."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from anchoredit_jax.config import load_config
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import MeshConfig
from anchoredit_jax.planning.plan import TURN, PlanRow, plan_step, plan_turn
from anchoredit_jax.stages import STAGES

SIZES = ("14b", "1_3b")
EDITOR_STAGE = "distribution_matching"  # whose sampler edits


class Job(NamedTuple):
    """One line of a report.

    Attributes:
      size: of the model.
      program: a stage, or "turn".
      topology: to compile for.
      spec: configuration; a turn's mesh is `mesh`.
    """

    size: str
    program: str
    topology: str
    spec: str
    mesh: MeshConfig | None = None


def jobs_of(size: str, configs: Path) -> list[Job]:
    """Every stage on every pod of `configs/wan_<size>.py`, and its editing turns.

    Sequences have as many frames as the longest in all of them: stage 1, which trains
    on pairs, is planned with as many edits of one source, packed into a sequence.

    Raises:
      UserError: no such size.
    """
    if size not in SIZES:
        raise UserError(f"size {size!r} is not one of {', '.join(SIZES)}")
    path = configs / f"wan_{size}.py"
    tables = _load(path)
    jobs = []
    for topology in tables.PODS:
        for stage in getattr(tables, "STAGES", {}).get(topology, tuple(STAGES)):
            spec = f"{path}:stage={stage},pod={topology}"
            if stage == "single_turn":
                spec += f",data.turns={_turns(path, topology)}"
            jobs.append(Job(size, stage, topology, spec))
    for topology, mesh in tables.EDITING.items():
        spec = f"{path}:stage={EDITOR_STAGE}"
        jobs.append(Job(size, TURN, topology, spec, MeshConfig(**mesh)))
    return jobs


def run_job(job: Job) -> PlanRow:
    """Compile it."""
    run = load_config(job.spec)
    if job.program == TURN:
        return plan_turn(run.replace(mesh=job.mesh), job.topology, job.size)
    return plan_step(run, job.topology, job.size)


def takes_pods(path: Path) -> bool:
    """Whether a configuration file has a table of topologies, and an argument `pod`."""
    return path.is_file() and hasattr(_load(path), "PODS")


def _turns(path: Path, topology: str) -> int:
    run = load_config(f"{path}:stage=causal_forcing,pod={topology}")
    return run.data.turns


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
