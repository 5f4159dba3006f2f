"""What holds on each of two processes with four devices; started by test_hosts.py."""

import os
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from anchoredit_jax.checkpoint import Lineage, Weights, digest
from anchoredit_jax.command_line import Parser
from anchoredit_jax.command_line.hosts import add_host_arguments, host_flags
from anchoredit_jax.data.placement import host_of, place
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import MeshConfig, make_mesh, state_shardings
from anchoredit_jax.parallel.hosts import Agreement, Hosts, barrier, check_same
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training import workdir
from anchoredit_jax.training.parents import find_parent
from tests.training.fake_stages import add_fake_stages, make_run


def check_agreement():
    """A number that one process gives is heard by both, a call later."""
    agree = Agreement()
    given = {0: [0, 0, 2, 0, 0], 1: [0, 15, 15, 0, 0]}[jax.process_index()]
    assert [agree(number) for number in given] == [0, 0, 15, 15, 0]


def check_refusals():
    """Both processes hear of what differs."""
    check_same("nothing", 5, "do not stop")
    try:
        check_same("the seed", jax.process_index(), "use one")
    except UserError as error:
        assert str(error) == "the seed differs between processes (0, 1): use one"
    else:
        raise AssertionError("nothing was refused")


def check_rows():
    """A batch is whole on any mesh, also where processes hold the same rows."""
    batch = np.arange(48.0, dtype=np.float32).reshape(16, 3)
    mixed = np.array(jax.devices()).reshape(2, 4).T.ravel()  # of both, in turns
    for sizes, devices in (
        (dict(data=8), None),
        (dict(data=2, fsdp=4), mixed),
        (dict(data=1, fsdp=2, tensor=4), None),
        (dict(data=1, context=8), None),
        (dict(data=1, fsdp=2, context=2, tensor=2), mixed),
    ):
        mesh = make_mesh(MeshConfig(**sizes), devices)
        sharding = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
        placed = place({"rows": batch[host_of(mesh).rows(16)]}, sharding)["rows"]
        whole = NamedSharding(mesh, PartitionSpec())
        together = jax.jit(lambda rows: rows, out_shardings=whole)(placed)
        np.testing.assert_array_equal(jax.device_get(together), batch)


def check_parents():
    """Weights of this process go where the mesh wants them, with the same digest."""
    rng = np.random.default_rng(0)
    params = {
        "blocks": {"ffn": {"fc1": {"kernel": rng.normal(size=(2, 8, 4))}}},
        "head": {"out": {"kernel": rng.normal(size=(8, 6)), "bias": np.ones(6)}},
    }
    params = jax.tree.map(np.float32, params)
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    lineage = Lineage("fake_first", 1, digest(params), {})
    weights = Weights(jax.tree.map(jax.numpy.asarray, params), make_run(), lineage)
    _, trees = find_parent(make_run("fake_second"), ".", weights, mesh)
    places = state_shardings(params, mesh)
    for leaf, wanted in zip(
        jax.tree.leaves(trees["params"]), jax.tree.leaves(places), strict=True
    ):
        assert leaf.sharding.is_equivalent_to(wanted, leaf.ndim)
    assert digest(trees["ema"]) == lineage.digest


def check_workdirs():
    """One folder that both see is had; one of each host's own is refused, on both."""
    workdir.VISIBLE_SECONDS = 1
    folder = Path(tempfile.gettempdir()) / f"host_checks_{os.getppid()}"
    with workdir.run_alone(folder / "shared"), workdir.run_alone(folder / "shared"):
        barrier("both have it")
    barrier("it is let go")
    assert not (folder / "shared").exists()
    try:
        with workdir.run_alone(folder / str(jax.process_index())):
            raise AssertionError("nothing was refused")
    except UserError as error:
        assert "one folder that all hosts share" in str(error), error
        assert "not there for process 1" in str(error), error
    barrier("both were refused")
    assert not folder.exists()


def main():
    parser = Parser()
    add_host_arguments(parser)
    with Hosts() as hosts:
        hosts.start(host_flags(parser.parse_args(sys.argv[1:])))
        add_fake_stages(STAGES)
        checks = (check_agreement, check_refusals, check_rows, check_parents)
        for check in (*checks, check_workdirs):
            check()
            print(check.__name__)
        barrier("done")


if __name__ == "__main__":
    main()
