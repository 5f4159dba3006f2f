"""Memory and time of an import and an export of published size, each in a process."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.checkpoint.safetensors_stream import nbytes, write_safetensors
from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.models.presets import make_config

SCRIPT = Path(__file__).parents[1] / "launch" / "convert.py"
GIB = 2**30
TRANSFORMER = NETWORKS["transformer"]
# A process of its own starts the command: a child's peak is at least what its parent
# held, and a benchmark holds much.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One command's cost.

    Attributes:
      seconds: the time of the whole process, start included.
      copy_seconds: the time of a plain copy of the same bytes, synced to the disk too.
      peak: largest resident memory of the process, bytes.
      bound: what the peak has to stay below.
    """

    seconds: float
    copy_seconds: float
    peak: int
    bound: int


def benchmark_convert(folder: Path, size: str = "wan_1_3b") -> dict[str, Conversion]:
    """Import and export a transformer of random bfloat16 weights.

    Args:
      folder: for four times the model's bytes; left empty.
      size: a preset.

    Returns:
      "import" (original Wan names to a file of ours; bound: 1.2 times the model and
      1 GiB) and "export" (to a diffusers folder; bound: twice the largest stacked
      tensor and 1 GiB).
    """
    src, ours, out = folder / "src", folder / "ours", folder / "out"
    file = src / "diffusion_pytorch_model.safetensors"
    config = make_config(size)
    shapes = {
        name: jax.ShapeDtypeStruct(shape, jnp.bfloat16)
        for name, shape in TRANSFORMER.shapes("wan", config).items()
    }
    write_safetensors(file, shapes, _random(shapes), {"format": "pt"})
    described = TRANSFORMER.published(config, "wan")
    (src / "config.json").write_text(json.dumps(described))
    model = sum(nbytes(tensor) for tensor in shapes.values())
    leaves = TRANSFORMER.leaves(config).values()
    largest = max(nbytes(leaf) for leaf in leaves) // 2  # in bfloat16
    try:
        copied = _copy(file, folder / "copy")
        imported = _run("import", "--src", src, "--out", ours)
        exported = _run(
            "export", "--checkpoint", ours, "--dialect", "diffusers", "--out", out
        )
    finally:
        (folder / "copy").unlink(missing_ok=True)
        for path in (src, ours, out):
            shutil.rmtree(path, ignore_errors=True)
    return {
        "import": Conversion(imported[0], copied, imported[1], model * 6 // 5 + GIB),
        "export": Conversion(exported[0], copied, exported[1], 2 * largest + GIB),
    }


def _random(
    shapes: Mapping[str, jax.ShapeDtypeStruct],
) -> Iterator[tuple[str, np.ndarray]]:
    """Normal numbers, drawn once and repeated: drawing a billion takes a minute."""
    pool = np.random.default_rng(0).normal(size=2**20).astype(jnp.bfloat16)
    for name, tensor in shapes.items():
        count = int(np.prod(tensor.shape))
        yield name, np.resize(pool, count).reshape(tensor.shape)


def _copy(src: Path, to: Path) -> float:
    start = time.perf_counter()
    shutil.copyfile(src, to)
    with open(to, "rb+") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def _run(*arguments: str | Path) -> tuple[float, int]:
    """Seconds and peak resident bytes of launch/convert.py."""
    start = time.perf_counter()
    command = [sys.executable, str(SCRIPT), *map(str, arguments), "--quiet"]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], stdout=subprocess.PIPE, text=True
    )
    if measured.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {measured.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return time.perf_counter() - start, int(measured.stdout) * unit
