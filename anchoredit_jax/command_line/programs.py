"""A command's first minute: programs are compiled quickly, and kept on disk."""

import contextlib
import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

LIMIT = 2 << 30  # bytes on disk; the oldest programs go first
SHORTEST = 0.2  # seconds of compiling from which on a program is kept
# JAX's own settings. Who has set one of the first two has decided.
_ENABLE = "JAX_ENABLE_COMPILATION_CACHE"
_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# Of XLA, for CPUs alone: a fifth to a third less work to compile a training step, which
# runs as fast (`python launch/benchmark.py compile`).
QUICKLY = "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE"
_KNOWING = "0.10."  # jaxlib's versions; one that does not know a flag aborts


def prepare_compiling() -> None:
    """Have XLA compile quickly for CPUs, and JAX keep what was compiled.

    To be called by a command before it imports JAX; later, it does nothing. Who has set
    XLA_FLAGS, or a setting of JAX's compilation cache, has decided.
    """
    if "jax" in sys.modules:
        return
    if not os.environ.get("XLA_FLAGS") and version("jaxlib").startswith(_KNOWING):
        os.environ["XLA_FLAGS"] = QUICKLY
    if not {_ENABLE, _FOLDER} & os.environ.keys():
        _keep_programs()


def _keep_programs() -> None:
    """Name the user's cache folder to JAX.

    Programs are for the instructions of one kind of processor, so that each has its
    folder. Where no folder can be made, nothing is kept.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "anchoredit_jax" / f"programs-{_processor()}"
        made = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        remove_oldest(folder, LIMIT)
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return
    if made:
        print(
            f"compiled programs are kept in {folder} (at most {LIMIT >> 30} GiB), so "
            f"that the next start is faster; {_ENABLE}=false keeps none",
            file=sys.stderr,
        )
    os.environ[_FOLDER] = str(folder)
    os.environ.setdefault(_SHORTEST, str(SHORTEST))


def remove_oldest(folder: Path, limit: int) -> None:
    """Remove files of a folder, the oldest first, until it holds `limit` bytes."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another command removes, too
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


def _processor() -> str:
    """Names the processor and the instructions that it has."""
    told = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):  # not Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        wanted = ("model name", "flags", "Features")
        told += sorted({line for line in lines if line.startswith(wanted)})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
