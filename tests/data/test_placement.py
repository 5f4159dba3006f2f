"""Rows of hosts on devices: in place, whatever the mesh."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from anchoredit_jax.data.placement import host_of, parts_of_processes, place
from anchoredit_jax.data.session_batches import Host
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import MeshConfig, make_mesh

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


def process_of(device):
    """Two processes of four neighbouring devices."""
    return device.id // 4


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        (dict(data=8), {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}),
        (dict(data=2, fsdp=4), {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}),
        (dict(data=1, fsdp=4, tensor=2), {0: (0, 1), 1: (2, 3)}),
        (dict(data=1, fsdp=2, context=2, tensor=2), {0: (0,), 1: (1,)}),
        (dict(data=1, context=8), {0: (0,), 1: (0,)}),  # both need the same rows
        (dict(data=1, context=4, tensor=2), {0: (0,), 1: (0,)}),
    ],
)
def test_rows_follow_from_the_mesh_not_from_the_process(sizes, wanted):
    mesh = make_mesh(MeshConfig(**sizes))
    assert parts_of_processes(mesh, process_of) == wanted


def test_rows_of_a_process_need_not_be_neighbours():
    devices = np.array(jax.devices()).reshape(2, 4).T.ravel()  # 0 4 1 5 2 6 3 7
    mesh = make_mesh(MeshConfig(data=8), devices)
    assert parts_of_processes(mesh, process_of) == {0: (0, 2, 4, 6), 1: (1, 3, 5, 7)}
    rows = Host((0, 2, 4, 6), 8).rows(16)
    assert rows.tolist() == [0, 1, 4, 5, 8, 9, 12, 13]


def test_processes_that_share_some_rows_are_refused():
    mesh = make_mesh(MeshConfig(data=4, tensor=2))
    with pytest.raises(UserError, match="0 and 1 hold parts .* mesh.context x"):
        parts_of_processes(mesh, lambda device: int(device.id > 2))
    with pytest.raises(UserError, match="0 and 1 hold parts .* as many"):
        parts_of_processes(mesh, lambda device: int(device.id > 5))


def test_one_process_makes_all_rows():
    for sizes in (dict(data=1), dict(data=8), dict(data=1, fsdp=2, tensor=4)):
        host = host_of(make_mesh(MeshConfig(**sizes)))
        assert host.rows(16).tolist() == list(range(16))
