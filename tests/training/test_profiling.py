"""A profiler trace of a window of steps."""

import os
import signal

import jax
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.training import profiling
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.profiling import ProfileWindow
from anchoredit_jax.training.stopping import Stopped
from tests.training.fake_stages import make_run, replace_step

pytestmark = pytest.mark.usefixtures("fake_stages")


@pytest.fixture
def traced(monkeypatch, fake_stages):
    """What happens, in order: "start FOLDER", "stop", "step" (dispatched).

    Appending a number n first sends SIGTERM at step n.
    """
    happened = []
    for name in ("start", "stop"):
        monkeypatch.setattr(
            profiling.jax.profiler,
            f"{name}_trace",
            lambda *folder, name=name: happened.append(" ".join([name, *folder])),
        )
    make_train_step = fake_stages["fake_first"].make_train_step

    def recording(run):
        step = make_train_step(run)

        def call(*args):
            happened.append("step")
            if happened.count("step") in happened:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(*args)

        return call

    replace_step(fake_stages, "fake_first", recording)
    return happened


def train(workdir, window, arg=""):
    return run_stage(
        make_run("fake_first", arg), workdir, quiet=True,
        profile=ProfileWindow.parse(window),
    )  # fmt: skip


@pytest.mark.parametrize("window", ["3:5", "0:2", "8:10"])
def test_the_trace_holds_the_steps_of_the_window(tmp_path, traced, window):
    train(tmp_path, window)
    first, last = map(int, window.split(":"))
    start = f"start {tmp_path / 'fake_first' / 'profile'}"
    assert traced == [
        *["step"] * first, start, *["step"] * (last - first), "stop",
        *["step"] * (10 - last),
    ]  # fmt: skip


def test_a_stop_in_the_window_closes_the_trace(tmp_path, traced):
    traced.append(5)
    with pytest.raises(Stopped):
        train(tmp_path, "3:9")
    assert traced.count("step") == 5 and traced[-1] == "stop"


def test_a_resumed_run_counts_on(tmp_path, traced):
    run_stage(make_run("fake_first", "loop.steps=4"), tmp_path, quiet=True)
    traced.clear()
    train(tmp_path, "4:6")
    assert [what.split()[0] for what in traced] == [
        "start", "step", "step", "stop", *["step"] * 4,
    ]  # fmt: skip


def test_jax_writes_it(tmp_path):
    train(tmp_path, "2:4", "loop.steps=4")
    profile = tmp_path / "fake_first" / "profile"
    assert list(profile.rglob("*.xplane.pb"))
    with pytest.raises(RuntimeError):  # none is open any more
        jax.profiler.stop_trace()


def test_a_window_that_is_not_run_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="after 8 up to 11 .* after 0 up to 10"):
        train(tmp_path, "8:11")
    assert not list(tmp_path.iterdir())
    run_stage(make_run("fake_first", "loop.steps=4"), tmp_path, quiet=True)
    with pytest.raises(UserError, match="after 3 up to 6 .* after 4 up to 10"):
        train(tmp_path, "3:6")


@pytest.mark.parametrize("text", ["", "3", "5:5", "6:5", "a:b", "-1:3", "1:2:3"])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(UserError, match="FIRST:LAST"):
        ProfileWindow.parse(text)
