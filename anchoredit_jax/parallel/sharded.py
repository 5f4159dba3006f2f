"""Training programs on a mesh: everything is made in place, and stays there.

One device is a mesh of one.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from anchoredit_jax.parallel.mesh import make_mesh, using
from anchoredit_jax.parallel.rules import batch_sharding, state_shardings


def put(leaf: jax.Array | np.ndarray, place: jax.sharding.Sharding) -> jax.Array:
    """The same array elsewhere; one of this process is the same on all others."""
    elsewhere = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
    if elsewhere or place.is_fully_addressable:
        return jax.device_put(leaf, place)
    local = np.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, place, lambda part: local[part])


def make_on_mesh(init: Callable[..., Any], mesh: Mesh, *arguments: Any) -> Any:
    """`init(*arguments)` with every array made where it belongs: shapes first, then
    shardings, then one program; no device ever holds the whole."""
    with using(mesh):
        arguments = jax.device_put(arguments, state_shardings(arguments, mesh))
        shardings = state_shardings(jax.eval_shape(init, *arguments), mesh)
        return jax.jit(init, out_shardings=shardings)(*arguments)


class CompiledStep:
    """A training step (state, batch) -> (state, metrics), compiled for a mesh.

    The state is donated and comes back in the same places, so that the next step is the
    same program. Metrics are whole on every device, and so are frozen parameters.

    Attributes:
      step: what is compiled.
      mesh: that it is compiled for.
      frozen: parameters that the step reads and never changes, and no state holds, or
        None. As constants of the program they would be a copy in each program.
    """

    def __init__(
        self, step: Callable[..., Any], mesh: Mesh | None = None, frozen: Any = None
    ) -> None:
        """Compiles nothing yet.

        Args:
          step: (state, batch) -> (state, metrics), traceable; (state, batch, frozen)
            where `frozen` is given.
          mesh: None is the first device.
        """
        self.mesh = make_mesh() if mesh is None else mesh
        self.step = step
        self._whole = NamedSharding(self.mesh, PartitionSpec())
        self.frozen = jax.tree.map(lambda leaf: put(leaf, self._whole), frozen)
        self._programs: dict[Any, Any] = {}

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Any]:
        with using(self.mesh):
            return self._program(state)(state, batch, *self._frozen)

    def lower(self, state: Any, batch: Any) -> jax.stages.Lowered:
        """The same program for shapes, to be compiled and looked at."""
        with using(self.mesh):
            return self._program(state).lower(state, batch, *self._frozen)

    @property
    def compilations(self) -> int:
        """Programs compiled so far: one for each shape of the batch."""
        return sum(program._cache_size() for program in self._programs.values())

    @property
    def _frozen(self) -> tuple[Any, ...]:
        return () if self.frozen is None else (self.frozen,)

    def _program(self, state: Any) -> Any:
        structure = jax.tree.structure(state)
        if structure not in self._programs:
            shardings = state_shardings(state, self.mesh)
            self._programs[structure] = jax.jit(
                self.step,
                in_shardings=(
                    shardings,
                    batch_sharding(self.mesh),
                    *[self._whole] * len(self._frozen),
                ),
                out_shardings=(shardings, self._whole),
                donate_argnums=0,
            )
        return self._programs[structure]
