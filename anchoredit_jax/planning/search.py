"""Trying meshes and memory policies until one fits, the cheapest first."""

import dataclasses
import math
from collections.abc import Callable, Iterator

from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import MeshConfig
from anchoredit_jax.planning.report import mesh_text
from anchoredit_jax.planning.row import PlanRow
from anchoredit_jax.run_config import RunConfig

POLICIES = ("block", "offload")


def candidates(
    run: RunConfig, chips: int, tokens: int
) -> Iterator[tuple[MeshConfig, str]]:
    """(mesh, `model.remat`) pairs that use all chips, those that send least first.

    Parameters are cut into as many parts as there are chips in either axis; splitting
    the tokens of a sequence costs an exchange a layer, splitting heads two sums of all
    activations. So `context` grows before `tensor`, and memory goes to the host last.

    Raises:
      UserError: no mesh of so many chips divides batch, tokens and heads.
    """
    rows = run.data.batch // run.optimizer.accumulate
    meshes = []
    for tensor in _divisors(math.gcd(chips, run.model.num_heads)):
        for context in _divisors(math.gcd(chips // tensor, tokens)):
            groups = chips // tensor // context
            if rows % groups == 0:
                meshes.append((tensor, context, groups))
    if not meshes:
        raise UserError(
            f"no mesh of {chips} chips divides {rows} samples of a (micro-)batch, "
            f"{tokens} tokens and {run.model.num_heads} heads: change data.batch"
        )
    for policy in POLICIES:
        for tensor, context, groups in sorted(meshes):
            mesh = MeshConfig(1, fsdp=groups, context=context, tensor=tensor)
            yield mesh, policy


def search(
    run: RunConfig,
    chips: int,
    tokens: int,
    plan: Callable[[RunConfig], PlanRow],
    tries: int = 4,
) -> tuple[PlanRow, list[PlanRow]]:
    """Compile candidates until enough of them are known.

    Args:
      plan: compiles a run.
      tries: candidates at most; fewer once two fit.

    Returns:
      (the one with the least predicted time of those that fit, else the one that lacks
      the least memory; all that were tried). Its note tells of the others.
    """
    tried: list[PlanRow] = []
    for mesh, policy in candidates(run, chips, tokens):
        fitting = [row for row in tried if row.fits]
        if len(tried) == tries or len(fitting) == 2:
            break
        model = dataclasses.replace(run.model, remat=policy)
        tried.append(plan(run.replace(mesh=mesh, model=model)))
    fitting = [row for row in tried if row.fits]
    if fitting:
        best = min(fitting, key=lambda row: row.predicted_seconds)
    else:
        best = min(tried, key=lambda row: row.missing)
    others = "; ".join(_told(row) for row in tried if row is not best)
    note = f"also tried: {others}" if others else ""
    return dataclasses.replace(best, note=note), tried


def _told(row: PlanRow) -> str:
    found = f"{row.missing:.1f} GiB too much"
    if row.fits:
        found = f"{row.peak:.1f} GiB, {row.predicted_seconds:.2g} s"
    return f"{mesh_text(row.mesh)}, {row.remat}: {found}"


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
