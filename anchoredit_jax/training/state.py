"""A stage's state on the devices: made there, or restored from whatever mesh."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.config import run_from_json
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import make_mesh, state_shardings
from anchoredit_jax.parallel.sharded import make_on_mesh
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.spikes import with_norms
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
        return jax.tree.map(jnp.copy, _init(run, trees))

    return make_on_mesh(init, make_mesh() if mesh is None else mesh, parent)


def _init(run: RunConfig, trees: Any) -> TrainState:
    return with_norms(STAGES[run.stage].init_state(run, trees), run.loop)


def restore_state(
    run: RunConfig, step_dir: Path, mesh: Mesh | None = None
) -> TrainState:
    """The whole training state saved in `step_dir`, from whatever mesh, on this one.

    Where the run was steered since, moments, average and counters go on in the dtypes
    and the structure that the settings now ask for.

    Raises:
      UserError: it is another state, or the settings ask for other arrays.
    """
    mesh = make_mesh() if mesh is None else mesh
    saved = run_from_json(manager.read_meta(step_dir)["config"])
    ours, theirs = (_abstract(one, step_dir, mesh) for one in (run, saved))
    if _structure(ours) == _structure(theirs):
        return manager.restore(step_dir, ours)
    state = manager.restore(step_dir, theirs)
    fields = {}
    for field in dataclasses.fields(state):
        old, new = (getattr(one, field.name) for one in (state, ours))
        if field.name == "norms" and (old is None or new is None):
            # Spikes are looked for from here on, or not any more.
            new = make_on_mesh(lambda: with_norms(ours, run.loop).norms, mesh)
            fields[field.name] = new
        else:
            fields[field.name] = _carried(old, new, field.name)
    return dataclasses.replace(state, **fields)


def _abstract(run: RunConfig, step_dir: Path, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and places of the state of a run that goes on from there."""
    stage = STAGES[run.stage]
    # What a stage starts from has the shapes of what it saves.
    shapes = manager.tree_shapes(step_dir) if stage.parents else None
    abstract = jax.eval_shape(functools.partial(_init, run), shapes)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=place
        ),
        abstract,
        state_shardings(abstract, mesh),
    )


def _structure(abstract: TrainState) -> tuple[Any, list[Any]]:
    leaves, structure = jax.tree.flatten(abstract)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _carried(old: Any, new: Any, name: str) -> Any:
    """The arrays of one field of a state in another structure, in other dtypes.

    Optax has the same arrays in the same order with and without a clipping around them.
    """
    leaves, structure = jax.tree.flatten(new)
    there = jax.tree.leaves(old)
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in there]:
        raise UserError(
            f"these settings ask for other arrays of the state's {name!r} than the "
            "checkpoint has: they cannot change while a run goes on"
        )
    casts = [
        array
        if array.dtype == leaf.dtype
        else jax.jit(
            lambda x, dtype=leaf.dtype: x.astype(dtype), out_shardings=leaf.sharding
        )(array)
        for array, leaf in zip(there, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, casts)
