"""Parts of a run, each in processes of its own, on the CPU."""

import concurrent.futures
import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from anchoredit_jax.command_line.hosts import HostFlags
from anchoredit_jax.errors import UserError

# What a process runs: of the package, because an installed one has no launch/.
MODULE = "anchoredit_jax.reproducibility.train"
DEVICES = "--xla_force_host_platform_device_count"


@dataclasses.dataclass(frozen=True)
class Leg:
    """A part of a run, up to step `last` (None: the end), in `processes` of `devices`
    CPU devices each."""

    last: int | None = None
    processes: int = 1
    devices: int = 1


def run_leg(spec: str, workdir: Path, leg: Leg) -> None:
    """Run all processes of a leg to their end.

    Args:
      spec: the configuration, with all settings of the trial and the leg.
      workdir: folder of all stages.

    Raises:
      UserError: one of the processes failed; it says what the process said last.
    """
    started = [
        subprocess.Popen(
            _command(spec, workdir, flags),
            env=environment(leg.devices),
            stdin=subprocess.PIPE,  # ends with this process
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for flags in _flags_of_processes(leg.processes)
    ]
    try:
        # Not `communicate`: it closes the input, by which they know that we are here.
        with concurrent.futures.ThreadPoolExecutor(len(started)) as pool:
            said = list(pool.map(lambda process: process.stderr.read(), started))
        for process in started:
            process.wait()
    finally:
        for process in started:
            process.kill()
            process.communicate()
    for process, text in zip(started, said, strict=True):
        if process.returncode:
            last = text.strip().splitlines()[-1:] or ["nothing was said"]
            raise UserError(f"matrix: a run of {spec} failed: {last[0]}")


def _command(spec: str, workdir: Path, flags: HostFlags) -> list[str]:
    """What starts one process; -P: the working directory hides no module of ours."""
    given = dict(spec=spec, workdir=str(workdir), flags=dataclasses.asdict(flags))
    return [sys.executable, "-P", "-m", MODULE, json.dumps(given)]


def _flags_of_processes(count: int) -> list[HostFlags]:
    if count == 1:
        return [HostFlags()]
    address = f"127.0.0.1:{_free_port()}"
    return [
        HostFlags(coordinator=address, processes=count, process=number)
        for number in range(count)
    ]


def environment(devices: int) -> dict[str, str]:
    """Of a process that sees so many CPU devices, other flags as they are.

    It imports from where this process does: a configuration may import its neighbours.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    flags = [flag for flag in flags if not flag.startswith(DEVICES)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join([*flags, f"{DEVICES}={devices}"]),
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
