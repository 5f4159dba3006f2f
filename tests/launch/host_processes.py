"""Processes of one run on this machine, each with four CPU devices, for tests."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600  # none of them may take longer
HEARTBEAT = 10


def start_processes(script, arguments, processes=2, devices=4, *, flags=()):
    """`script` with the flags of `launch/train.py`, once per process.

    Args:
      script: path below the root.
      processes: 1 starts without `jax.distributed`.
      flags: more of them, for all.
    """
    address = f"127.0.0.1:{free_port()}"
    started = []
    for index in range(processes):
        several = [
            *("--coordinator", address, "--processes", processes, "--process", index),
            *("--heartbeat", HEARTBEAT),
        ]
        command = [sys.executable, ROOT / script, *arguments, *flags]
        command += several if processes > 1 else []
        started.append(
            subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env=environment(devices),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def environment(devices=4):
    """Of a process with so many CPU devices; the other flags are the tests' own."""
    count = "--xla_force_host_platform_device_count"
    others = [f for f in os.environ["XLA_FLAGS"].split() if not f.startswith(count)]
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join([f"{count}={devices}", *others]),
        "PYTHONPATH": str(ROOT),
    }


def wait_for(started):
    """[(exit code, stdout, stderr)] of all of them; none outlives this."""
    try:
        said = [process.communicate(timeout=SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        (process.returncode, *texts)
        for process, texts in zip(started, said, strict=True)
    ]


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
