"""Many devices: the mesh, and where parameters, state and batches lie on it."""

from anchoredit_jax.parallel.mesh import AXES, MeshConfig, describe, make_mesh, using
from anchoredit_jax.parallel.rules import batch_sharding, state_shardings

__all__ = [
    "AXES",
    "MeshConfig",
    "batch_sharding",
    "describe",
    "make_mesh",
    "state_shardings",
    "using",
]
