"""All stages in order: with two fake ones, and with the four real ones."""

import os
import shutil
import signal

import pytest

from anchoredit_jax.checkpoint import load_weights, manager
from anchoredit_jax.config import load_config
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import LOCK
from anchoredit_jax.in_use import HOLDER
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training import curriculum
from anchoredit_jax.training.curriculum import _summary, run_curriculum
from anchoredit_jax.training.loop import StageResult, run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.stopping import Stopped
from tests.launch.foreign import hold
from tests.training.fake_stages import make_run
from tests.training.real_stages import real_spec

pytestmark = pytest.mark.usefixtures("fake_stages")


def run_both(workdir, arg="", until=None):
    runs = [make_run("fake_first", arg), make_run("fake_second", arg)]
    return run_curriculum(runs, workdir, until, quiet=True)


def test_each_stage_starts_from_the_one_before(tmp_path, capsys):
    results = run_both(tmp_path)
    assert list(results) == ["fake_first", "fake_second"]
    lineage = load_weights(tmp_path).lineage
    assert [link.stage for link in lineage.chain()] == ["fake_first", "fake_second"]
    assert lineage.parent.digest == load_weights(tmp_path / "fake_first").lineage.digest
    first, second = capsys.readouterr().out.splitlines()
    rows = read_metrics(tmp_path / "fake_first" / "metrics.jsonl")
    falls = f"loss {rows[0]['loss']:.4f} -> {rows[-1]['loss']:.4f}"
    assert first == f"fake_first: step 10, {falls}"
    assert second.startswith("fake_second: step 10, loss")


def with_a_signal(monkeypatch, owner, name):
    """SIGTERM comes right after a function's first call."""
    real = getattr(owner, name)

    def signalled(*args):
        result = real(*args)
        monkeypatch.setattr(owner, name, real)
        os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(owner, name, signalled)


@pytest.mark.parametrize(
    ("owner", "name", "where"),
    [
        (manager, "finish_saves", "at step 10 of fake_first, which is saved"),
        (curriculum, "_summary", "before the first step of fake_second"),
    ],
    ids=["during the last save", "between two stages"],
)
def test_a_signal_is_not_lost(tmp_path, monkeypatch, owner, name, where):
    before = signal.getsignal(signal.SIGTERM)
    with_a_signal(monkeypatch, owner, name)
    with pytest.raises(Stopped, match=where) as stopped:
        run_both(tmp_path)
    assert stopped.value.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) == before
    rows = tmp_path / "fake_second" / "metrics.jsonl"
    assert not rows.exists() or not read_metrics(rows)
    results = run_both(tmp_path)
    assert [results[stage].step for stage in results] == [10, 10]


def test_a_workdir_that_another_run_has_is_refused(tmp_path, monkeypatch):
    hold(tmp_path / "w")
    with pytest.raises(UserError, match=f"in use by process {os.getppid()} of"):
        run_both(tmp_path / "w")
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [LOCK, HOLDER]


def test_rows_without_a_training_loss_are_not_told_as_its_fall(tmp_path):
    rows = '{"step": 1, "loss": 2.0}\n{"step": 5, "loss": 1.0}\n'
    held_out = '{"step": 5, "held_out/ema/loss": 3.0}\n'
    (tmp_path / "metrics.jsonl").write_text(held_out + rows + held_out)
    told = _summary("a_stage", tmp_path, StageResult(5, tmp_path, {}, 0))
    assert told == "a_stage: step 5 (finished before), loss 2.0000 -> 1.0000"


def test_goes_on_where_it_stopped(tmp_path, capsys):
    straight = run_both(tmp_path / "a")
    run_both(tmp_path / "b", until="fake_first")
    assert not (tmp_path / "b" / "fake_second").exists()
    run_both(tmp_path / "b")
    # The second stage died after its checkpoint of step 4.
    for step in ("8", "10"):
        shutil.rmtree(tmp_path / "b" / "fake_second" / "checkpoints" / step)
    capsys.readouterr()
    results = run_both(tmp_path / "b")
    assert results["fake_first"].metrics == {}
    assert results["fake_second"].resumed == 4
    assert "fake_first: step 10 (finished before)" in capsys.readouterr().out
    assert (
        load_weights(tmp_path / "b").lineage.digest
        == load_weights(straight["fake_second"].checkpoint).lineage.digest
    )


def test_a_stage_that_began_from_an_older_parent_is_refused(tmp_path):
    run_both(tmp_path)
    with pytest.raises(UserError, match="began from fake_first at step 10, but fake_"):
        run_both(tmp_path, "loop.steps=12")


def test_an_unknown_last_stage_is_refused(tmp_path):
    with pytest.raises(UserError, match="'fake_sec'.*did you mean 'fake_second'"):
        run_both(tmp_path, until="fake_sec")
    assert not list(tmp_path.iterdir())


def real_run(stage, arg=""):
    return load_config(real_spec(stage, 2) + arg)


@pytest.mark.slow
def test_the_four_real_stages_follow_one_another(tmp_path):
    real = [name for name in STAGES if not name.startswith("fake")]
    results = run_curriculum([real_run(s) for s in real], tmp_path, quiet=True)
    assert [result.step for result in results.values()] == [2, 2, 2, 2]
    final = load_weights(tmp_path / real[-1]).lineage
    assert [link.stage for link in final.chain()] == real
    for link in final.chain():
        saved = load_weights(tmp_path / link.stage).lineage
        assert (link.digest, link.parent) == (saved.digest, saved.parent)


@pytest.mark.slow
def test_a_stage_goes_on_from_its_own_weights_with_other_data(tmp_path):
    first = run_stage(real_run("single_turn"), tmp_path / "a", quiet=True)
    arg = ",seed=1,data.sprites.weights.move=3.0"
    again = real_run("single_turn", arg)
    second = run_stage(again, tmp_path / "b", first.checkpoint, quiet=True)
    lineage = load_weights(second.checkpoint).lineage
    assert [link.stage for link in lineage.chain()] == ["single_turn", "single_turn"]
    assert lineage.parent.digest == load_weights(first.checkpoint).lineage.digest
    assert lineage.digest != lineage.parent.digest
