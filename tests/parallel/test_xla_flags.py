"""Flags of XLA: the compilers know them, and a shell gets them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel.chips import CHIPS
from anchoredit_jax.parallel.xla_flags import FLAGS, flags, variable

ROOT = Path(__file__).resolve().parents[2]
TPUS = {"v4": "2x2x1", "v5e": "2x2", "v5p": "2x2x1", "v6e": "2x2", "tpu7x": "2x2x1"}
COMPILE = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
devices = topologies.get_topology_desc(sys.argv[1], platform="tpu").devices
mesh = Mesh(np.array(devices), ("fsdp",))
place = NamedSharding(mesh, PartitionSpec("fsdp"))
matrix = jax.ShapeDtypeStruct((512, 512), jnp.bfloat16, sharding=place)
jax.jit(lambda a, b: a @ b, out_shardings=place).lower(matrix, matrix).compile()
"""


def python(*arguments, **changes):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **changes},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_chip_has_flags_and_none_twice():
    assert set(FLAGS) == {chip for chip in CHIPS if chip in TPUS} | {"gpu"}
    for chip, table in FLAGS.items():
        names = [flag.name for flag in table]
        assert len(set(names)) == len(names) and all(flag.reason for flag in table)
        assert flags(chip).startswith("--xla_")
    with pytest.raises(UserError, match="unknown chip 'v5'.*v5e"):
        flags("v5")


def test_the_shell_gets_them_before_its_own():
    module = ("-m", "anchoredit_jax.parallel.xla_flags")
    printed = python(*module, "v6e").stdout
    shell = f'LIBTPU_INIT_ARGS=--own=1\n{printed}printf %s "$LIBTPU_INIT_ARGS"'
    said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert said.stdout == f"{flags('v6e')} --own=1"
    wrong = python(*module)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1


def test_jax_knows_the_flags_of_gpus():
    assert variable("gpu") == "XLA_FLAGS"
    code = "import jax; jax.devices()"
    assert python("-c", code, XLA_FLAGS=flags("gpu")).returncode == 0
    assert python("-c", code, XLA_FLAGS="--xla_gpu_no_such_flag=1").returncode != 0


@pytest.mark.tpu
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed: pip install 'anchoredit_jax[tpu]'",
)
@pytest.mark.parametrize("chip", TPUS)
def test_libtpu_compiles_with_them(chip):
    environment = dict(
        TPU_SKIP_MDS_QUERY="1",
        TPU_ACCELERATOR_TYPE="v5p-8",
        TPU_WORKER_HOSTNAMES="localhost",
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",
        XLA_FLAGS="",
    )
    run = ("-c", COMPILE, f"{chip}:{TPUS[chip]}")
    result = python(*run, **environment, LIBTPU_INIT_ARGS=flags(chip))
    assert result.returncode == 0, result.stderr
    unknown = "--xla_tpu_no_such_flag=true"
    assert python(*run, **environment, LIBTPU_INIT_ARGS=unknown).returncode != 0
