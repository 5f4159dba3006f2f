"""Training programs on a mesh: everything is made in place, and stays there."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from anchoredit_jax.parallel.mesh import using
from anchoredit_jax.parallel.rules import batch_sharding, state_shardings


def init_sharded(init: Callable[[Any], Any], mesh: Mesh, *arguments: Any) -> Any:
    """`init(*arguments)` with every array made where it belongs: shapes first, then
    shardings, then one program; no device ever holds the whole."""
    with using(mesh):
        arguments = jax.device_put(arguments, state_shardings(arguments, mesh))
        shardings = state_shardings(jax.eval_shape(init, *arguments), mesh)
        return jax.jit(init, out_shardings=shardings)(*arguments)


def shard_step(step: Callable, mesh: Mesh) -> Callable:
    """A training step (state, batch) -> (state, metrics) on a mesh.

    The state is donated and comes back in the same places, so that the next step is the
    same program. Metrics are whole on every device.
    """
    programs: dict[Any, Callable] = {}

    def program(state: Any) -> Callable:
        structure = jax.tree.structure(state)
        if structure not in programs:
            shardings = state_shardings(state, mesh)
            programs[structure] = jax.jit(
                step,
                in_shardings=(shardings, batch_sharding(mesh)),
                out_shardings=(shardings, None),
                donate_argnums=0,
            )
        return programs[structure]

    def sharded(state: Any, batch: Any) -> tuple[Any, Any]:
        with using(mesh):
            return program(state)(state, batch)

    return sharded
