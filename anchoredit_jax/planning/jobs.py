"""What `launch/plan.py --all` compiles: the tables of the configurations of a size."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anchoredit_jax.config import config_module, load_config
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import MeshConfig
from anchoredit_jax.planning.plan import TURN, digest_of, plan_step, plan_turn
from anchoredit_jax.planning.report import key_of
from anchoredit_jax.planning.row import PlanRow
from anchoredit_jax.planning.shapes import BUCKETS, SQUARE
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.table import STAGES

SIZES = ("14b", "1_3b")
EDITOR_STAGE = "distribution_matching"  # whose sampler edits


class Job(NamedTuple):
    """A line of a report that is to be made.

    Attributes:
      size: the size of the model, a preset's name.
      program: a stage, or "turn".
      topology: the pod to compile for.
      spec: configuration; a turn's mesh is `mesh`.
      bucket: shape of the images, see `shapes.bucket_size`.
    """

    size: str
    program: str
    topology: str
    spec: str
    mesh: MeshConfig | None = None
    bucket: str = SQUARE

    @property
    def name(self) -> str:
        """The name that `--only` is looked for in."""
        return f"{self.program} {self.topology} {self.bucket}"

    @property
    def run(self) -> RunConfig:
        run = load_config(self.spec)
        return run if self.mesh is None else run.replace(mesh=self.mesh)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The key of its line in a report, see `report.key_of`."""
        return self.size, self.program, self.topology, self.bucket


def jobs_of(size: str, configs: Path, buckets: Sequence[str] = BUCKETS) -> list[Job]:
    """Every stage on every pod of `configs/wan_<size>.py`, and its editing turns.

    Steps are planned in each of the buckets, squares of all first; turns in the square.

    Raises:
      UserError: no such size.
    """
    if size not in SIZES:
        raise UserError(f"size {size!r} is not one of {', '.join(SIZES)}")
    path = configs / f"wan_{size}.py"
    tables = config_module(path)
    jobs = []
    for topology in tables.PODS:
        for stage in getattr(tables, "STAGES", {}).get(topology, tuple(STAGES)):
            spec = f"{path}:stage={stage},pod={topology}"
            jobs += [Job(size, stage, topology, spec, None, b) for b in buckets]
    jobs.sort(key=lambda job: buckets.index(job.bucket))
    for topology, mesh in tables.EDITING.items():
        spec = f"{path}:stage={EDITOR_STAGE}"
        jobs.append(Job(size, TURN, topology, spec, MeshConfig(**mesh)))
    return jobs


def run_job(job: Job) -> PlanRow:
    """Compile what the job names, and say what it needs."""
    if job.program == TURN:
        return plan_turn(job.run, job.topology, job.size)
    return plan_step(job.run, job.topology, job.size, bucket=job.bucket)


def is_done(job: Job, rows: Iterable[dict[str, Any]]) -> bool:
    """Whether a report has this job's line, of its configuration as it is now, and it
    fits."""
    of = digest_of(job.run)
    return any(
        key_of(row) == job.key and row.get("of") == of and row["fits"] for row in rows
    )


def takes_pods(path: Path) -> bool:
    """Whether a configuration file has a table of topologies, and an argument `pod`.

    Raises:
      UserError: no such file, see `config.config_module`.
    """
    return hasattr(config_module(path), "PODS")
