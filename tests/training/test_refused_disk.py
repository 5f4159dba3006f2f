"""What the disk refuses ends a run at once, by a line that says what stands."""

import resource
import shutil
import threading
import time

import pytest
from tensorboardX import record_writer

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.metrics_log import MetricsLog
from tests.training.fake_stages import make_run

pytestmark = pytest.mark.usefixtures("fake_stages")


class Nobody:
    """An observer that counts steps, and lets a save be refused."""

    def __init__(self, spoil):
        self.steps, self.spoil = 0, spoil

    def begin(self, run, folder, *_):
        self.folder = folder

    def batch(self, step, of_host):
        self.steps = step

    def metrics(self, step, fetched):
        pass

    def saving(self, step, state):
        if step == self.spoil:
            while not manager.committed_steps(self.folder / "checkpoints"):
                time.sleep(0.01)  # the save before is done
            # From here on the system refuses all files but the smallest.
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))


def test_a_save_that_fails_ends_the_run_at_once(tmp_path, capsys):
    run = make_run(arg="loop.steps=24,loop.checkpoint_every=4,loop.log_every=100")
    observer = Nobody(spoil=8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(manager.SaveError) as refused:
            run_stage(run, tmp_path, quiet=True, observer=observer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = str(refused.value)
    assert str(tmp_path / "fake_first" / "checkpoints") in said and "\n" not in said
    assert "step 4 stands" in said
    assert observer.steps < 12, "it went on to the next save"
    assert manager.committed_steps(tmp_path / "fake_first" / "checkpoints") == [4]


def test_a_save_that_failed_behind_is_told_at_the_next_step(tmp_path, monkeypatch):
    """The error of another thread, as Orbax keeps it."""
    real, asked = manager.ocp.CheckpointManager.check_for_errors, []

    def failing(self):
        if threading.current_thread() is threading.main_thread():
            asked.append(1)  # Orbax's own thread asks too, and only logs what it hears
            if len(asked) == 6:
                raise ValueError("RESOURCE_EXHAUSTED: No space left\non device")
        real(self)

    monkeypatch.setattr(manager.ocp.CheckpointManager, "check_for_errors", failing)
    run = make_run(arg="loop.steps=24,loop.checkpoint_every=4,loop.log_every=100")
    observer = Nobody(spoil=None)
    with pytest.raises(manager.SaveError, match="No space left on device; "):
        run_stage(run, tmp_path, quiet=True, observer=observer)
    assert observer.steps < 8


def test_a_workdir_that_is_removed_ends_the_run(tmp_path):
    class Remover(Nobody):
        def batch(self, step, of_host):
            self.steps = step
            if step == 6:
                shutil.rmtree(tmp_path / "W")

    observer = Remover(spoil=None)
    run = make_run(arg="loop.steps=24,loop.checkpoint_every=4,loop.log_every=2")
    with pytest.raises(manager.SaveError) as refused:
        run_stage(run, tmp_path / "W", quiet=True, observer=observer)
    said, folder = str(refused.value), tmp_path / "W" / "fake_first"
    assert observer.steps < 10 and "\n" not in said
    assert "removed while the run wrote to it" in said
    assert str(folder / "metrics.jsonl") in said
    assert f"stands in {folder / 'checkpoints'}" in said or "8 stands" in said


def test_a_full_disk_does_not_hang_the_log(tmp_path, monkeypatch):
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(record_writer, "open_file", lambda path: full)
        with pytest.raises(OSError, match="No space left") as refused:
            with MetricsLog(tmp_path, 0) as log:
                for step in range(100):  # more than any queue holds
                    log.write(step, {"loss": 1.0})
    assert refused.value.filename == str(tmp_path / "tensorboard")
