"""Rows of hosts on devices: in place, whatever the mesh."""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from anchoredit_jax.data.placement import place

BATCH = {"latents": np.arange(48.0).reshape(8, 3, 2), "id": np.arange(8)}


def test_one_device_or_many():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    for sharding in (
        SingleDeviceSharding(jax.devices()[0]),
        NamedSharding(mesh, PartitionSpec("data")),
    ):
        placed = place(BATCH, sharding)
        for name, value in BATCH.items():
            assert placed[name].sharding == sharding
            np.testing.assert_array_equal(placed[name], value)
