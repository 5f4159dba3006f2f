"""A stage's state on the devices: made there, or restored from whatever mesh."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import make_mesh, state_shardings
from anchoredit_jax.parallel.sharded import make_on_mesh
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.step import TrainState
from anchoredit_jax.stages.table import STAGES


def check_rows(run: RunConfig, mesh: Mesh) -> None:
    """UserError unless every group of devices gets its share of a micro-batch."""
    groups = mesh.shape["data"] * mesh.shape["fsdp"]
    rows = run.data.batch // run.optimizer.accumulate
    if rows % groups:
        raise UserError(
            f"{rows} samples of a (micro-)batch do not split over mesh.data x "
            f"mesh.fsdp = {groups} groups of devices: make data.batch a multiple of "
            f"{groups * run.optimizer.accumulate}"
        )


def fresh_state(
    run: RunConfig, parent: dict[str, Any] | None, mesh: Mesh | None = None
) -> TrainState:
    """The state of `run.stage` at step 0, made in one compiled program.

    No two leaves share a buffer, as the step donates them all; and all are put in
    place, as restored ones are, or the second step would compile anew.

    Args:
      parent: trees of the parent by name, or None.
      mesh: None is the first device.
    """

    def init(trees):
        return jax.tree.map(jnp.copy, STAGES[run.stage].init_state(run, trees))

    return make_on_mesh(init, make_mesh() if mesh is None else mesh, parent)


def restore_state(
    run: RunConfig, step_dir: Path, mesh: Mesh | None = None
) -> TrainState:
    """The whole training state saved in `step_dir`, from whatever mesh, on this one."""
    stage = STAGES[run.stage]
    mesh = make_mesh() if mesh is None else mesh
    # What a stage starts from has the shapes of what it saves.
    shapes = manager.tree_shapes(step_dir) if stage.parents else None
    abstract = jax.eval_shape(lambda trees: stage.init_state(run, trees), shapes)
    placed = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=place
        ),
        abstract,
        state_shardings(abstract, mesh),
    )
    return manager.restore(step_dir, placed)
