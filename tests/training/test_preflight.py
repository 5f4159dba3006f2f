"""A run that is tried first: what is told, what is refused, and that nothing stays."""

import shutil
from collections import namedtuple

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.training import preflight
from anchoredit_jax.training.divergence import DivergedError
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.preflight import check_run
from tests.training.fake_stages import make_run

pytestmark = pytest.mark.usefixtures("fake_stages", "compiled_anew")


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
    }


def test_a_run_that_is_tried_leaves_nothing_and_tells_what_it_takes(tmp_path):
    run = make_run("fake_first", "loop.steps=400,loop.checkpoint_every=100,loop.keep=2")
    told = check_run(run, tmp_path / "runs" / "W")
    assert not list(tmp_path.iterdir())
    assert "fake_first: 3 steps" in told and "s a step" in told
    assert "for 400 steps" in told
    assert "at most 3 at once" in told and "are free" in told
    assert "of this process at most" in told


def test_a_run_that_is_there_stays_as_it_is_and_its_rest_is_told(tmp_path):
    run = make_run("fake_first", "loop.steps=8")
    run_stage(run, tmp_path, quiet=True)
    before = files_in(tmp_path)
    told = check_run(make_run("fake_first", "loop.steps=10"), tmp_path)
    assert files_in(tmp_path) == before
    assert "for 2 steps" in told
    with pytest.raises(UserError, match="learning_rate"):
        other = make_run("fake_first", "optimizer.learning_rate=0.5,loop.steps=10")
        check_run(other, tmp_path)
    assert files_in(tmp_path) == before


def test_a_stage_is_tried_from_its_parent_in_the_workdir(tmp_path):
    with pytest.raises(UserError, match="fake_second"):
        check_run(make_run("fake_second"), tmp_path)
    run_stage(make_run("fake_first"), tmp_path, quiet=True)
    before = files_in(tmp_path)
    assert "fake_second: 3 steps" in check_run(make_run("fake_second"), tmp_path)
    assert files_in(tmp_path) == before


def test_the_first_thing_that_is_wrong_ends_it(tmp_path):
    with pytest.raises(DivergedError):
        check_run(make_run("fake_first", "options.diverge_at=2"), tmp_path / "W")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_run(make_run("fake_first"), tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_is_too_small_is_refused(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    with pytest.raises(UserError, match="do not fit on the disk"):
        check_run(make_run("fake_first"), tmp_path / "W")
    assert not list(tmp_path.iterdir())
    assert preflight.TRIAL.startswith(".")  # not taken for a stage
