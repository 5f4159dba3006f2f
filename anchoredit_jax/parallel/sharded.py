"""Training programs on a mesh: everything is made in place, and stays there."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from anchoredit_jax.parallel.mesh import using
from anchoredit_jax.parallel.rules import batch_sharding, state_shardings


def init_sharded(init: Callable[[Any], Any], mesh: Mesh, *arguments: Any) -> Any:
    """`init(*arguments)` with every array made where it belongs: shapes first, then
    shardings, then one program; no device ever holds the whole."""
    with using(mesh):
        arguments = jax.device_put(arguments, state_shardings(arguments, mesh))
        shardings = state_shardings(jax.eval_shape(init, *arguments), mesh)
        return jax.jit(init, out_shardings=shardings)(*arguments)


class ShardedStep:
    """A training step (state, batch) -> (state, metrics) on a mesh.

    The state is donated and comes back in the same places, so that the next step is the
    same program. Metrics are whole on every device, and so are frozen parameters.
    """

    def __init__(self, step: Callable, mesh: Mesh) -> None:
        self._step, self._mesh, self._frozen = step, mesh, ()
        self._whole = NamedSharding(mesh, PartitionSpec())
        if hasattr(step, "frozen"):  # see `stages.step.FrozenStep`
            self._step = step.step
            self._frozen = (jax.tree.map(self._everywhere, step.frozen),)
        self._programs: dict[Any, Any] = {}

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Any]:
        with using(self._mesh):
            return self._program(state)(state, batch, *self._frozen)

    def lower(self, state: Any, batch: Any) -> jax.stages.Lowered:
        """The same program for shapes, to be compiled and looked at."""
        with using(self._mesh):
            return self._program(state).lower(state, batch, *self._frozen)

    def _everywhere(self, leaf: Any) -> jax.Array:
        """The same array, which every process holds, on all devices."""
        local = np.asarray(leaf)
        return jax.make_array_from_callback(
            local.shape, self._whole, lambda part: local[part]
        )

    def _program(self, state):
        structure = jax.tree.structure(state)
        if structure not in self._programs:
            shardings = state_shardings(state, self._mesh)
            self._programs[structure] = jax.jit(
                self._step,
                in_shardings=(
                    shardings,
                    batch_sharding(self._mesh),
                    *[self._whole] * len(self._frozen),
                ),
                out_shardings=(shardings, self._whole),
                donate_argnums=0,
            )
        return self._programs[structure]


def shard_step(step: Callable, mesh: Mesh) -> ShardedStep:
    """`step` on a mesh."""
    return ShardedStep(step, mesh)
