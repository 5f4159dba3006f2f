"""SIGKILL at random moments: a run always goes on, and ends as if it had not been."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anchoredit_jax.checkpoint import digest, manager
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.state import restore_state
from tests.training.fake_stages import make_run

pytestmark = pytest.mark.usefixtures("fake_stages")

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["loop.steps=40", "loop.log_every=3", "loop.checkpoint_every=3"]


def start(workdir, seconds_per_step):
    command = [sys.executable, "-m", "tests.training.fake_stages"]
    return subprocess.Popen(
        [*command, str(workdir), "fake_first", str(seconds_per_step), *ARGUMENTS],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def last_row(workdir):
    path = workdir / "fake_first" / "metrics.jsonl"
    rows = read_metrics(path) if path.exists() else []
    return rows[-1]["step"] if rows else 0


def kill_after_progress(workdir, draws):
    """Start, wait for a new row (one is written before each save), kill soon after."""
    before = manager.latest_step(workdir / "fake_first" / "checkpoints") or 0
    process = start(workdir, 0.02)
    while process.poll() is None and last_row(workdir) <= before:
        time.sleep(0.005)
    time.sleep(draws.uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


def check_kills(tmp_path, kills):
    draws = random.Random(kills)
    killed = [kill_after_progress(tmp_path / "b", draws) for _ in range(kills)]
    assert killed.count(-signal.SIGKILL) >= min(kills, 3)
    for name in "ba":  # the rest of the killed run, and a straight one
        process = start(tmp_path / name, 0)
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    run = make_run("fake_first", ",".join(ARGUMENTS))
    states, rows = [], []
    for name in "ab":
        folder = tmp_path / name / "fake_first"
        states.append(digest(restore_state(run, folder / "checkpoints" / "40")))
        rows.append(
            [(r["step"], r["loss"]) for r in read_metrics(folder / "metrics.jsonl")]
        )
    assert states[0] == states[1]
    assert rows[0] == rows[1]


def test_killed_at_random_moments(tmp_path):
    check_kills(tmp_path, 3)


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    check_kills(tmp_path, 20)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)]
)
def test_exit_codes_of_signals(tmp_path, number, code):
    process = start(tmp_path, 0.2)
    while process.poll() is None and last_row(tmp_path) < 3:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code, errors
    step = manager.latest_step(tmp_path / "fake_first" / "checkpoints")
    assert f"at step {step} of fake_first, which is saved" in errors
