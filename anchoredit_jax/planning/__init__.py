"""Plans: the product's own programs, compiled for pods that are not here, and counted.

`hlo`, `flow`, `collectives`, `products`, `traffic` and `program` read what the compiler
made; the rest says what is compiled, and makes tables of it.
"""

from anchoredit_jax.planning.jobs import Job, is_done, jobs_of, run_job, takes_pods
from anchoredit_jax.planning.plan import plan_step, plan_turn
from anchoredit_jax.planning.report import (
    check_report,
    details,
    markdown,
    read_rows,
    short_table,
    table,
    write_rows,
)
from anchoredit_jax.planning.row import PlanRow
from anchoredit_jax.planning.search import candidates, search
from anchoredit_jax.planning.shapes import BUCKETS
from anchoredit_jax.planning.topology import describe_versions, devices_of

__all__ = [
    "BUCKETS",
    "Job",
    "PlanRow",
    "candidates",
    "describe_versions",
    "details",
    "devices_of",
    "is_done",
    "jobs_of",
    "markdown",
    "plan_step",
    "plan_turn",
    "check_report",
    "read_rows",
    "run_job",
    "search",
    "short_table",
    "table",
    "takes_pods",
    "write_rows",
]
