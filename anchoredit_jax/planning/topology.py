"""Named TPU topologies on a machine without a TPU, by libtpu's compiler."""

import importlib.util
import os
import re
from importlib.metadata import version

import jax
from jax.experimental import topologies

from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel.chips import chip_of

KNOWN = ("v5e", "v5p", "v6e", "tpu7x")  # a v4 here is two cores, on machines one device
# libtpu would look for the machine's own TPU and its neighbours.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5p-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
}


def devices_of(name: str, slices: int = 1) -> list[jax.Device]:
    """The devices of a topology such as "v5p:4x4x4", to compile for and nothing else.

    Args:
      slices: of this topology each, joined by the data-centre network.

    Raises:
      UserError: no such topology, or libtpu is not installed.
    """
    if not re.fullmatch(r"[a-z0-9]+:\d+(x\d+){1,2}", name):
        raise UserError(
            f"topology {name!r}: expected a chip and its grid, such as v5p:4x4x4 or "
            "v6e:16x16"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "compiling for a TPU needs its compiler, libtpu: pip install "
            "'anchoredit_jax[tpu]' (Linux, x86-64; no TPU is needed)"
        )
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    chip = name.partition(":")[0]
    if chip not in KNOWN:
        raise UserError(f"topology {name!r}: unknown chip; known: {', '.join(KNOWN)}")
    try:
        described = topologies.get_topology_desc(
            name, platform="tpu", num_slices=slices
        )
        devices = list(described.devices)
    except (ValueError, RuntimeError) as error:  # jax's runtime error is one of these
        reason = str(error).splitlines()[0]
        raise UserError(f"topology {name!r} is refused by libtpu: {reason}") from error
    if chip_of(devices[0]) != chip:
        raise UserError(f"topology {name!r} has devices {devices[0].device_kind!r}")
    return devices


def describe_versions() -> str:
    """What a plan depends on."""
    return f"jax {version('jax')}, libtpu {version('libtpu')}"
