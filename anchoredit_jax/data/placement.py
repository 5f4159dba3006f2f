"""Batches from hosts onto devices."""

from collections.abc import Mapping

import jax
import numpy as np


def place(
    batch: Mapping[str, np.ndarray], sharding: jax.sharding.Sharding
) -> dict[str, jax.Array]:
    """Global arrays of which this process holds its own rows.

    Copies are started, not waited for: the devices may still be at the step before.

    Args:
      batch: this host's rows, see `session_batches.Host`.
      sharding: of every array; its first axis is that of the rows.
    """
    return {
        name: jax.make_array_from_process_local_data(sharding, rows)
        for name, rows in batch.items()
    }
