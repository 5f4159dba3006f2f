"""No process outlives the one that started it, however that ended."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.data.raw_files import members, write_tar

ROOT = Path(__file__).resolve().parents[1]
TRACKER = "resource_tracker"  # of multiprocessing; ends by itself, later


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def workers(process):
    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            found += [one] if TRACKER not in " ".join(one.cmdline()) else []
    return found


def check_all_end(process, count, sent, began=lambda: True):
    """Its `count` processes are gone after it got a signal."""
    while len(workers(process)) < count or not began():
        assert process.poll() is None
        time.sleep(0.05)
    started = workers(process)
    process.send_signal(sent)
    process.communicate()
    while any(one.is_running() for one in started):
        time.sleep(0.05)  # a test that hangs here has found an orphan


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_preparing(tmp_path, sent):
    (tmp_path / "raw").mkdir()
    for name in "ab":  # a part each
        write_tar(tmp_path / "raw" / f"{name}.tar", members(name))
    process = start("tests.data.slow_prepare", tmp_path / "raw", tmp_path / "out")
    check_all_end(process, 2, sent)


def test_workers_that_make_batches(tmp_path):
    process = start(
        *("tests.training.fake_stages", tmp_path, "fake_first", 0.2),
        *("data.workers=1", "loop.steps=100000", "loop.log_every=1"),
    )
    rows = tmp_path / "fake_first" / "metrics.jsonl"
    began = lambda: rows.exists() and rows.stat().st_size > 0  # noqa: E731
    check_all_end(process, 1, signal.SIGKILL, began)


def test_a_program_ends_with_its_input():
    process = start("tests.ends_with_input")
    process.communicate()
    assert process.returncode == 1
