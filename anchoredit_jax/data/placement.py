"""Which rows of a batch a process makes, and how they get onto devices."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from anchoredit_jax.data.session_batches import Host
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import batch_sharding


def host_of(mesh: Mesh) -> Host:
    """The rows that this process makes.

    Raises:
      UserError: see `parts_of_processes`.
    """
    return Host(parts_of_processes(mesh)[jax.process_index()], _count(mesh))


def parts_of_processes(
    mesh: Mesh, process_of: Callable[[Any], int] = lambda device: device.process_index
) -> dict[int, tuple[int, ...]]:
    """Which parts of a batch the devices of each process hold, see `Host`.

    They follow from where the mesh puts a batch, not from the number of the process:
    processes that a `context` or `tensor` axis joins need the same rows, and a process
    of a pod need not hold neighbouring ones.

    Args:
      process_of: device -> number of its process.

    Raises:
      UserError: processes hold more than others, or share some of what they hold.
    """
    held: dict[int, set[int]] = {}
    places = batch_sharding(mesh).devices_indices_map((_count(mesh),))
    for device, (rows,) in places.items():
        parts = held.setdefault(process_of(device), set())
        parts.update(range(*rows.indices(_count(mesh))))
    for one, other in itertools.combinations(sorted(held), 2):
        ours, theirs = held[one], held[other]
        if len(ours) != len(theirs) or (ours & theirs and ours != theirs):
            raise UserError(
                f"processes {one} and {other} hold parts {sorted(ours)} and "
                f"{sorted(theirs)} of a batch, which have to be as many, and the same "
                "or apart: choose mesh.context x mesh.tensor so that it divides the "
                "devices of a process, or is a multiple of them"
            )
    return {process: tuple(sorted(parts)) for process, parts in held.items()}


def _count(mesh: Mesh) -> int:
    return mesh.shape["data"] * mesh.shape["fsdp"]


def place(
    batch: Mapping[str, np.ndarray], sharding: jax.sharding.Sharding
) -> dict[str, jax.Array]:
    """Global arrays of which this process holds its own rows.

    Copies are started, not waited for: the devices may still be at the step before.

    Args:
      batch: this process's rows, see `host_of`.
      sharding: the place of every array, whose first axis is that of the rows.
    """
    return {
        name: jax.make_array_from_process_local_data(sharding, rows)
        for name, rows in batch.items()
    }
