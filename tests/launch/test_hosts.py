"""launch/train.py on several processes: start, equal losses, signals, deaths."""

import os
import signal
import socket
import time

import numpy as np
import pytest

from anchoredit_jax.checkpoint import load_weights, manager
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.trees import leaves_by_name
from launch import train
from tests.launch.host_processes import free_port, start_processes, wait_for
from tests.training.conftest import fake_stages  # noqa: F401

STAGES = ("single_turn", "causal_forcing", "consistency", "distribution_matching")
MESH = "mesh.fsdp=4,mesh.tensor=2"
REAL = """
from ml_collections import ConfigDict
from anchoredit_jax.config import override, parse_arg
from configs import sprites

SMALL = (
    "data.batch=8,data.size=16,data.turns=2,model.dim=32,model.ffn_dim=32,"
    "model.num_heads=2,model.num_layers=2,loop.log_every=1,loop.checkpoint_every=2,"
    "eval.every=0,eval.edits_every=0"
)


def get_config(arg=None):
    given, dotted = parse_arg(arg, dict(stage="single_turn", steps=5))
    chosen = f"stage={given['stage']},steps={given['steps']},"
    config = sprites.get_config(chosen + SMALL)
    config.mesh = ConfigDict()
    return override(config, dotted)
"""
FAKE = """
from ml_collections import ConfigDict
from anchoredit_jax.config import override, parse_arg
from anchoredit_jax.stages.table import STAGES
from tests.training.fake_stages import add_fake_stages, make_run

add_fake_stages(STAGES, 0.05)


def get_config(arg=None):
    given, dotted = parse_arg(arg, dict(stage="fake_first"))
    config = ConfigDict(make_run(given["stage"], "data.batch=8").to_dict())
    return override(config, dotted)
"""


@pytest.fixture
def real(tmp_path):
    path = tmp_path / "real.py"
    path.write_text(REAL)
    return path


@pytest.fixture
def fake(tmp_path):
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


def start(workdir, config, processes=2, flags=()):
    return start_processes(
        "launch/train.py",
        ["--config", config, "--workdir", workdir],
        processes,
        8 // processes,
        flags=flags,
    )


def finished(started):
    results = wait_for(started)
    assert [code for code, _, _ in results] == [0] * len(results), results
    return results


def rows_of(folder, name="loss"):
    path = folder / "metrics.jsonl"
    rows = read_metrics(path) if path.exists() else []
    return [row for row in rows if name in row]


def wait_until(happened, started):
    while not happened():
        assert all(process.poll() is None for process in started), wait_for(started)
        time.sleep(0.02)


def checkpoint_of(folder, step):
    return lambda: step in manager.committed_steps(folder / "checkpoints")


def assert_same_run(ours, theirs, steps):
    """Losses of every step and the final parameters, to a part in 100,000."""
    left, right = rows_of(ours), rows_of(theirs)
    assert [row["step"] for row in left] == list(range(1, steps + 1))
    np.testing.assert_allclose(
        [row["loss"] for row in left], [row["loss"] for row in right], rtol=1e-5
    )
    trees = [
        leaves_by_name(manager.read_item(folder / f"checkpoints/{steps}", "params"))
        for folder in (ours, theirs)
    ]
    for path, wanted in trees[1].items():
        # Where a gradient is rounding only, Adam makes whole steps of it.
        scale = max(np.linalg.norm(wanted), 0.1)
        assert np.linalg.norm(trees[0][path] - wanted) < 1e-5 * scale, path


@pytest.mark.slow
def test_two_processes_train_as_one_does(real, tmp_path):
    config = f"{real}:{MESH},optimizer.accumulate=2,eval.every=4,eval.edits_every=5"
    (lead, second) = finished(start(tmp_path / "two", config))
    finished(start(tmp_path / "one", config, 1))
    two, one = tmp_path / "two/single_turn", tmp_path / "one/single_turn"
    assert_same_run(two, one, 5)
    left, right = (rows_of(folder, "held_out/ema/loss") for folder in (two, one))
    assert [row["step"] for row in left] == [0, 4, 5]
    for ours, theirs in zip(left, right, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3)
    assert "edited/success" in left[-1]
    sheets = sorted(path.name for path in (two / "samples").iterdir())
    assert sheets == ["00000000.png", "00000005.png"]
    assert "single_turn: step 5, loss" in lead[1] and "5/5" in lead[2]
    assert "single_turn" not in second[1] and "step" not in second[2]


def train_with_a_death(workdir, config, stage, flags):
    """Two processes, of which the second dies after a checkpoint; then one goes on."""
    started = start(workdir, config, flags=flags)
    wait_until(checkpoint_of(workdir / stage, 2), started)
    os.kill(started[1].pid, signal.SIGKILL)
    killed = time.monotonic()
    (code, _, said), _ = wait_for(started)
    assert code != 0 and time.monotonic() - killed < 60, said
    (result,) = finished(start(workdir, config, 1, flags))
    assert f"{stage}: step 5, loss" in result[1]


@pytest.mark.long
def test_all_stages_go_on_alone_when_a_process_dies(real, tmp_path, monkeypatch):
    # The one process compiles the same program twice.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "programs"))
    alone, flags = tmp_path / "alone", ()
    for stage in STAGES:
        config = f"{real}:stage={stage},{MESH}"
        finished(start(alone, config, 1))
        train_with_a_death(tmp_path / "died", config, stage, flags)
        assert_same_run(tmp_path / "died" / stage, alone / stage, 5)
        # One parent for both, or differences of all stages so far would add up.
        flags = ("--parent", alone / stage)


def test_the_other_process_ends_when_one_dies(fake, tmp_path):
    config = f"{fake}:mesh.data=none,loop.steps=10000,loop.checkpoint_every=5"
    started = start(tmp_path / "w", config)
    wait_until(checkpoint_of(tmp_path / "w/fake_first", 5), started)
    os.kill(started[1].pid, signal.SIGKILL)
    (code, _, said), _ = wait_for(started)
    assert code not in (0, 75), said
    step = manager.latest_step(tmp_path / "w/fake_first/checkpoints")
    config = f"{fake}:mesh.data=2,loop.steps={step + 2}"
    (result,) = finished(start(tmp_path / "w", config, 1))
    assert f"fake_first: step {step + 2}, loss" in result[1]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 75),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_one_process_stops_all_at_the_same_step(
    fake, tmp_path, number, code
):
    config = f"{fake}:mesh.data=none,loop.steps=10000,loop.checkpoint_every=9999"
    started = start(tmp_path / "w", config)
    wait_until(lambda: len(rows_of(tmp_path / "w/fake_first")) > 2, started)
    started[1].send_signal(number)
    results = wait_for(started)
    assert [result[0] for result in results] == [code, code], results
    step = manager.latest_step(tmp_path / "w/fake_first/checkpoints")
    for _, _, said in results:
        assert f"at step {step} of fake_first, which is saved" in said


def test_a_loss_that_is_not_finite_ends_all_processes(fake, tmp_path):
    config = f"{fake}:mesh.data=none,options.diverge_at=3"
    for code, _, said in wait_for(start(tmp_path / "w", config)):
        assert code == 4 and "the loss is nan at step 3" in said


def test_the_curriculum_is_exported_once(fake, tmp_path, fake_stages):  # noqa: F811
    work, out = tmp_path / "w", tmp_path / "out"
    arguments = ["--workdir", work, "--export", out, "--quiet"]
    arguments += ["--config", f"{fake}:mesh.fsdp=8"]
    lead, second = finished(
        start_processes("tests/launch/fake_curriculum.py", arguments)
    )
    assert "fake_second: step 10, loss" in lead[1] and "lineage: fake" in lead[1]
    assert "fake" not in second[1]
    assert load_weights(out).lineage == load_weights(work).lineage
    assert load_weights(out).lineage.parent.stage == "fake_first"


def test_what_processes_do_together():
    for _, said, _ in finished(start_processes("tests/launch/host_checks.py", [])):
        for check in ("agreement", "refusals", "rows", "parents", "workdirs"):
            assert f"check_{check}\n" in said


def fails(capsys, *arguments):
    """Exit code 2 and the one line that was said."""
    with pytest.raises(SystemExit) as stop:
        train.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert stop.value.code == 2, captured.err
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_wrong_flags_are_one_line(fake, tmp_path, capsys):
    base = ("--config", fake, "--workdir", tmp_path / "w")
    there = ("--coordinator", "localhost:1", "--processes", 2)
    for flags, said in (
        (there, "together: --process missing"),
        (("--process", 0), "--coordinator and --processes missing"),
        (("--hosts", "auto", *there), "leave out --coordinator, --processes"),
        ((*there, "--process", 2), r"--process must be in [0, 2)"),
        (("--coordinator", "here", *there[2:], "--process", 0), "must be HOST:PORT"),
        ((*there, "--process", 0, "--heartbeat", 0), "--heartbeat must be 1 second"),
        (("--hosts", "manual"), "invalid choice"),
    ):
        assert said in fails(capsys, *base, *flags)
    assert not (tmp_path / "w").exists()


def test_a_port_that_is_taken_is_one_line(fake, tmp_path, capsys):
    with socket.create_server(("", 0)) as taken:
        there = f"localhost:{taken.getsockname()[1]}"
        flags = ("--coordinator", there, "--processes", 2, "--process", 0)
        said = fails(capsys, "--config", fake, "--workdir", tmp_path / "w", *flags)
    assert "process 0 cannot listen on port" in said


THERE = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", 2, "--process")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--hosts", "auto"), "neither a TPU pod, GKE, SLURM nor Open MPI"),
        ((*THERE, 1), f"process 0 at {THERE[1]} was not reached"),
        ((*THERE, 0), "not all processes were there within 3 seconds"),
    ],
    ids=["no cluster", "no process 0", "no process 1"],
)
def test_a_start_that_fails_is_one_line_after_a_while(fake, tmp_path, flags, said):
    flags = (*flags, "--connect-timeout", 3)
    (result,) = wait_for(start(tmp_path / "w", fake, 1, flags))
    assert result[0] == 2 and said in result[2]
    assert result[2].startswith("error: ") and result[2].count("\n") == 1
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        ("mesh.data=4", "the mesh has 4 devices, 2 processes have 8"),
        pytest.param(
            "mesh.data=1",
            "the mesh has 1 devices, 2 processes have 8",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mesh_that_leaves_devices_out_is_refused(fake, tmp_path, mesh, said):
    for code, _, text in wait_for(start(tmp_path / "w", f"{fake}:{mesh}")):
        assert code == 2 and f"error: {said}" in text
    assert not (tmp_path / "w").exists()
