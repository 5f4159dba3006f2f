"""Signals at random moments of a curriculum: it stops at once, and goes on in bits."""

import os
import random
import signal
import time

import psutil
import pytest

from anchoredit_jax.checkpoint import digest, manager
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.state import restore_state
from tests.training.fake_stages import make_run
from tests.training.forked import ARGUMENTS, STEPS, Forker

pytestmark = pytest.mark.usefixtures("fake_stages")

CODES = {signal.SIGTERM: 75, signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}
STAGES = ("fake_first", "fake_second")
# The step in flight, and the one whose row is about to be seen.
STEPS_AFTER_A_SIGNAL = 2


def steps_done(workdir):
    """Steps with a row, over both stages."""
    paths = (workdir / stage / "metrics.jsonl" for stage in STAGES)
    return sum(len(read_metrics(path)) for path in paths if path.exists())


def checkpoints(workdir, stage):
    return manager.committed_steps(workdir / stage / "checkpoints")


def is_alive(process):
    return psutil.pid_exists(process)


def bits(workdir):
    """Of the state that both stages end with, and of all losses."""
    found = []
    for stage in STAGES:
        path = workdir / stage / "checkpoints" / str(STEPS)
        found.append(digest(restore_state(make_run(stage, ARGUMENTS), path)))
        rows = read_metrics(workdir / stage / "metrics.jsonl")
        found.append([(row["step"], row["loss"]) for row in rows])
    return found


def check_signals(tmp_path, draws, tries):
    """So many signals, each at a random moment of a curriculum that has not ended."""
    told = []
    with Forker(tmp_path) as forker:
        for name in ("warm", "straight"):
            started = time.monotonic()
            forker.start(tmp_path / name)
            code, said = forker.wait()
            assert code == 0, said
            seconds = time.monotonic() - started
        wanted = bits(tmp_path / "straight")
        assert bits(tmp_path / "warm") == wanted
        workdir = None
        for number, sent in zip(range(tries), tries * list(CODES), strict=False):
            workdir = workdir or tmp_path / f"run_{number}"
            at_start = steps_done(workdir)
            wanted_steps = draws.randint(at_start, 2 * STEPS)
            process = forker.start(workdir)
            while steps_done(workdir) < wanted_steps and is_alive(process):
                time.sleep(0.005)
            time.sleep(draws.uniform(0, seconds / STEPS / 2))
            before = steps_done(workdir)
            if is_alive(process):
                os.kill(process, sent)
            code, said = forker.wait()
            after = steps_done(workdir)
            finished = after == 2 * STEPS and STEPS in checkpoints(workdir, STAGES[-1])
            told.append((sent.name, before, code, after))
            print(*told[-1], flush=True)
            # Behind the last save nothing is left to stop; the process may be ending.
            # While it loads its configuration the signal ends it as any process.
            loading = after == at_start and not said
            fine = {CODES[sent], *((0, -sent) if finished else ())}
            fine |= {-sent} if loading else set()
            assert code in fine, (told, said)
            assert finished or after - before <= STEPS_AFTER_A_SIGNAL, told
            assert finished or "Traceback" not in said, said
            if finished or draws.random() < 0.3:  # else it is ended once more
                forker.start(workdir)
                code, said = forker.wait()
                assert code == 0, said
                assert bits(workdir) == wanted, told
                workdir = None
        if workdir is not None:
            forker.start(workdir)
            assert forker.wait()[0] == 0
            assert bits(workdir) == wanted, told
    return told


def test_signals_at_a_few_moments(tmp_path):
    told = check_signals(tmp_path, random.Random(1), 4)
    assert any(code == CODES[signal.SIGTERM] for _, _, code, _ in told)


@pytest.mark.long
def test_signals_at_fifty_moments(tmp_path):
    told = check_signals(tmp_path, random.Random(2), 50)
    codes = {name: [c for n, _, c, _ in told if n == name] for name, *_ in told}
    for sent, wanted in CODES.items():
        assert codes[sent.name].count(wanted) > 5, codes
