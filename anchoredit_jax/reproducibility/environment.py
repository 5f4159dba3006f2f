"""What a run ran on: versions, processor, devices, mesh, compiler flags."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax
from jax.sharding import Mesh

from anchoredit_jax.parallel.mesh import describe
from anchoredit_jax.version import __version__

# What computes, reads images, orders batches, and stores and restores states.
PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "numpy", "ml_dtypes", "pillow", "grain",
    "orbax-checkpoint", "tensorstore",
)  # fmt: skip
# Environment variables by which XLA's compilers are told what to do.
FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")


def describe_environment(mesh: Mesh) -> dict[str, str]:
    """Names and values, all of them text: what may change the bits of a run."""
    device = mesh.devices.flat[0]
    return {
        "anchoredit_jax": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "processor": _processor(),
        "platform": device.platform,
        "device": device.device_kind,
        "processes": str(jax.process_count()),
        "mesh": describe(mesh),
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
        **{name: " ".join(sorted(os.environ.get(name, "").split())) for name in FLAGS},
    }


def _processor() -> str:
    """The name of the host's processor, for whose instructions XLA compiles there."""
    try:
        told = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        told = []
    names = [line.partition(":")[2].strip() for line in told if "model name" in line]
    return next(iter(names), platform.processor())
