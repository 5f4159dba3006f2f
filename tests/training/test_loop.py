import json
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.errors import UserError
from anchoredit_jax.training import loop
from anchoredit_jax.training.divergence import DivergedError
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.state import restore_state
from anchoredit_jax.training.stopping import Stopped
from anchoredit_jax.training.throughput import MEASURES
from tests.training.fake_stages import make_run, replace_step

pytestmark = pytest.mark.usefixtures("fake_stages", "compiled_anew")


def train(workdir, stage="fake_first", arg="", **options):
    return run_stage(make_run(stage, arg), workdir, quiet=True, **options)


def state_of(result, stage="fake_first", arg=""):
    return restore_state(make_run(stage, arg), result.checkpoint)


def rows_of(folder):
    """Metrics without the ones that time measures."""
    rows = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in MEASURES} for row in rows]


def assert_bit_equal(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("cut", [4, 7])
def test_a_resumed_run_equals_a_straight_one_bit_for_bit(tmp_path, cut):
    """Rows 1, 2, 4, 21 and 53 of the user reports: moments, average, draws, data and
    counters. Of the real stages: `test_resume.py`."""
    straight = train(tmp_path / "a")
    first = train(tmp_path / "b", arg=f"loop.steps={cut}")
    resumed = train(tmp_path / "b")
    assert (first.step, resumed.resumed, resumed.step) == (cut, cut, 10)
    assert int(state_of(resumed).step) == 10
    assert_bit_equal(state_of(resumed), state_of(straight))
    ours, theirs = (
        rows_of(tmp_path / "b/fake_first"),
        rows_of(tmp_path / "a/fake_first"),
    )
    assert [row for row in ours if row["step"] > 8] == theirs[-1:]


def test_a_workdir_of_any_name_is_resumed_in(tmp_path):
    """A `%` is neither a format nor an escape to anything that gets the path."""
    folder = tmp_path / "50% of %s, %20 #1 {x} é"
    assert train(folder, arg="loop.steps=4").step == 4
    resumed = train(folder, arg="loop.steps=6")
    assert (resumed.resumed, resumed.step) == (4, 6)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_run_leaves_its_checkpoints_metrics_and_config(tmp_path):
    result = train(tmp_path)
    folder = tmp_path / "fake_first"
    assert manager.committed_steps(folder / "checkpoints") == [4, 8, 10]
    assert result.checkpoint == folder / "checkpoints" / "10"
    rows = rows_of(folder)
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
    assert rows[0]["loss"] > rows[-1]["loss"]
    assert result.metrics["loss"] == rows[-1]["loss"]
    assert "even" in rows[0]  # NaN at every other step: the mean of the others
    saved = json.loads((folder / "config.json").read_text())
    assert saved["stage"] == "fake_first" and saved["loop"]["steps"] == 10
    assert list((folder / "tensorboard").iterdir())


def test_the_step_compiles_once_also_after_a_restore(tmp_path, fake_stages):
    make_train_step, made = fake_stages["fake_first"].make_train_step, []

    def recording(run):
        made.append(make_train_step(run))
        return made[-1]

    replace_step(fake_stages, "fake_first", recording)
    train(tmp_path, arg="loop.steps=5")
    train(tmp_path)
    assert [step.compilations for step in made] == [1, 1]


def test_metrics_are_fetched_only_to_be_logged(tmp_path, monkeypatch):
    fetched = []
    device_get = jax.device_get

    def counting(tree):
        if isinstance(tree, list):  # the rest is one step's loss and flags
            fetched.append(len(tree))
        return device_get(tree)

    monkeypatch.setattr(jax, "device_get", counting)
    train(tmp_path, arg="loop.log_every=5,loop.checkpoint_every=10")
    assert fetched == [5, 5]


def test_a_finished_run_is_left_alone(tmp_path):
    first = train(tmp_path)
    again = train(tmp_path)
    assert (again.step, again.resumed, again.metrics) == (10, 10, {})
    assert again.checkpoint == first.checkpoint


def test_metrics_of_steps_that_are_done_again_stand_there_once(tmp_path):
    train(tmp_path, arg="loop.steps=4")
    path = tmp_path / "fake_first" / "metrics.jsonl"
    before = path.read_text()
    # Died after logging step 6, before its checkpoint, in the middle of a row.
    path.write_text(before + '{"step": 6, "loss": 1.0}\n{"step": 8, "lo')
    train(tmp_path)
    rows = read_metrics(path)
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10]
    assert rows[2]["loss"] != 1.0
    assert path.read_text().startswith(before)


def test_a_torn_checkpoint_is_not_resumed_from(tmp_path, caplog):
    """Row 11 of the user reports: an interrupted save lies beside a good one. On this
    file system it has a name of its own; elsewhere it has no record of its end."""
    straight = train(tmp_path / "a")
    train(tmp_path / "b", arg="loop.steps=8")
    torn = tmp_path / "b" / "fake_first" / "checkpoints" / "8"
    record = json.loads((torn / "_CHECKPOINT_METADATA").read_text())
    record["commit_timestamp_nsecs"] = None
    (torn / "_CHECKPOINT_METADATA").write_text(json.dumps(record))
    resumed = train(tmp_path / "b")
    assert resumed.resumed == 4 and "incomplete" in caplog.text
    assert_bit_equal(state_of(resumed), state_of(straight))


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path):
    with pytest.raises(DivergedError, match="fake_first: the loss is nan at step 7;"):
        train(tmp_path, arg="options.diverge_at=7")
    folder = tmp_path / "fake_first"
    assert manager.committed_steps(folder / "checkpoints") == [4]
    assert [row["step"] for row in rows_of(folder)] == [2, 4, 6]


@pytest.mark.parametrize("at", [2, 3])  # right after a row of metrics, and between two
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)]
)
def test_a_signal_saves_the_current_step(tmp_path, fake_stages, number, code, at):
    straight = train(tmp_path / "a")
    make_train_step = fake_stages["fake_first"].make_train_step
    calls = []

    def signalling(run):
        step = make_train_step(run)

        def call(*args):
            calls.append(1)
            if len(calls) == at:
                os.kill(os.getpid(), number)
            return step(*args)

        return call

    replace_step(fake_stages, "fake_first", signalling)
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"step {at} of fake_first") as stopped:
        train(tmp_path / "b")
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is before
    resumed = train(tmp_path / "b")
    assert resumed.resumed == at
    assert_bit_equal(state_of(resumed), state_of(straight))


def test_runs_outside_of_the_main_thread(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(train(tmp_path)))
    thread.start()
    thread.join()
    assert results[0].step == 10


def test_a_stage_starts_from_the_average_of_its_parent_and_records_it(tmp_path):
    first = train(tmp_path)
    second = train(tmp_path, "fake_second", "loop.steps=1")
    teacher = state_of(second, "fake_second").teacher
    parent = state_of(first)
    assert_bit_equal(teacher, parent.ema)
    lineage = assets.load_weights(tmp_path / "fake_second").lineage
    assert [(link.stage, link.step) for link in lineage.chain()] == [
        ("fake_first", 10),
        ("fake_second", 1),
    ]
    assert lineage.parent.digest == assets.load_weights(first.checkpoint).lineage.digest
    resumed = train(tmp_path, "fake_second")
    assert assets.load_weights(resumed.checkpoint).lineage.parent == lineage.parent


def test_a_parent_may_be_a_bundle_or_weights_in_memory(tmp_path):
    train(tmp_path / "a")
    weights = assets.load_weights(tmp_path / "a" / "fake_first")
    file = assets.save_bundle(tmp_path / "shipped", *weights)
    results = [
        train(tmp_path / name, "fake_second", parent=parent)
        for name, parent in (("b", file), ("c", weights), ("d", file.parent))
    ]
    states = [state_of(result, "fake_second") for result in results]
    assert_bit_equal(states[0], states[1])
    assert_bit_equal(states[0], states[2])


def refused(workdir, said, stage="fake_first", arg="", **options):
    before = sorted(workdir.rglob("*"))
    with pytest.raises(UserError, match=said) as error:
        train(workdir, stage, arg, **options)
    assert "\n" not in str(error.value)
    assert sorted(workdir.rglob("*")) == before  # nothing half-written


def test_wrong_parents_are_refused(tmp_path):
    train(tmp_path)
    train(tmp_path, "fake_second")
    first, second = tmp_path / "fake_first", tmp_path / "fake_second"
    (tmp_path / "other").mkdir()
    other = tmp_path / "other"
    refused(other, "train that first", "fake_second")
    refused(other, "does not exist", "fake_second", parent=other / "none")
    refused(other, "train that first", "fake_second", parent=other)
    (tmp_path / "empty").mkdir()
    refused(other, "no checkpoint in", "fake_second", parent=tmp_path / "empty")
    refused(other, "given one of fake_second", "fake_second", parent=second)
    refused(other, "starts from scratch", parent=first)
    refused(other, "differs in model.dim", "fake_second", "model.dim=16", parent=first)
    # How it is computed is free; what it computes is not.
    train(other, "fake_second", "model.attention=dense", parent=first)


def test_another_parent_is_refused_when_resuming(tmp_path):
    train(tmp_path)
    train(tmp_path, "fake_second")
    first, second = tmp_path / "fake_first", tmp_path / "fake_second"
    refused(tmp_path, "began from fake_first at step 10", "fake_second", parent=second)
    earlier = first / "checkpoints" / "4"
    refused(tmp_path, "names fake_first at step 4", "fake_second", parent=earlier)
    train(tmp_path, "fake_second", parent=first)


def test_another_configuration_is_refused_when_resuming(tmp_path):
    train(tmp_path, arg="loop.steps=4")
    arg = "optimizer.learning_rate=0.5,data.batch=4"
    refused(tmp_path, "differs in data.batch: 2, now 4, optimizer.learning", arg=arg)
    refused(tmp_path, f"with --parent {tmp_path / 'fake_first'}", arg=arg)
    refused(tmp_path, "differs in model.dtype", arg="model.dtype=bfloat16")
    train(tmp_path, arg="loop.steps=6,loop.log_every=3,loop.keep=1")


@pytest.mark.parametrize(
    "arg",
    [
        "model.attention=dense",
        "model.remat=block",
        "model.scan_unroll=2",
        "optimizer.accumulate=2",
        "data.workers=1",
    ],
)
def test_what_decides_only_the_way_may_change_when_resuming(tmp_path, arg):
    train(tmp_path, arg="loop.steps=4")
    assert train(tmp_path, arg=f"loop.steps=6,{arg}").resumed == 4


def test_other_contents_are_refused_when_resuming(tmp_path, monkeypatch):
    train(tmp_path, arg="loop.steps=4")
    describe = loop.describe_content
    monkeypatch.setattr(
        loop, "describe_content", lambda *of: {**describe(*of), "codec": "another"}
    )
    refused(tmp_path, "another codec .*now another; see codec.wan_vae.weights")


def test_a_file_in_the_place_of_the_workdir_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        with pytest.raises(UserError, match="is a file, expected a folder"):
            train(tmp_path / place)


@pytest.mark.parametrize(
    ("arg", "said"),
    [
        ("model.channels=9", "channels of the codec: .*, the model takes 9"),
        ("text.dim=16", "width of the text encoder: 16, the model takes 8"),
        ("data.size=18", "data.size 18 modulo 4: 2, the model takes 0"),
    ],
)
def test_data_that_does_not_fit_the_model_is_refused(tmp_path, arg, said):
    refused(tmp_path, said, arg=arg)


def test_a_signal_before_the_first_step_says_so():
    assert "before the first step of a_stage" in str(
        Stopped(signal.SIGTERM, "a_stage", 0)
    )


def test_the_best_checkpoint_stays_when_the_loss_rises_again(tmp_path, fake_stages):
    """Also over a resume: measures are read from the rows of metrics."""
    make_train_step = fake_stages["fake_first"].make_train_step

    def measured(run):
        step = make_train_step(run)
        away_from_4 = jax.jit(lambda done: jnp.abs(done.astype(jnp.float32) - 3.0))

        def call(state, batch):
            measure = away_from_4(state.step)
            state, metrics = step(state, batch)
            return state, {**metrics, "held_out/ema/loss": measure}

        return call

    replace_step(fake_stages, "fake_first", measured)
    arg = "loop.checkpoint_every=1,loop.log_every=1,loop.keep=1,loop.keep_best=2,"
    arg += "loop.best_by=held_out/ema/loss,loop.keep_every=5"
    train(tmp_path, arg=f"{arg},loop.steps=6")
    folder = tmp_path / "fake_first" / "checkpoints"
    assert manager.committed_steps(folder) == [3, 4, 5, 6]
    train(tmp_path, arg=arg)
    assert manager.committed_steps(folder) == [3, 4, 5, 10]


def test_a_checkpoint_without_the_measure_is_told(tmp_path, capsys):
    train(tmp_path, arg="loop.keep_best=1,loop.best_by=held_out,loop.keep=1")
    said = capsys.readouterr().err
    assert "step 4 is not among the best: its row has no finite 'held_out'" in said
    assert manager.committed_steps(tmp_path / "fake_first" / "checkpoints") == [10]


@pytest.mark.parametrize("name", ["a[1]", "a\\b", "a*b"])
def test_a_workdir_whose_checkpoints_could_not_be_read_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="checkpoints cannot be kept in"):
        run_stage(make_run(), tmp_path / name, quiet=True)
    assert not list(tmp_path.iterdir())


def test_from_a_damaged_checkpoint_a_run_goes_on_as_it_is_told(tmp_path):
    straight = run_stage(make_run(arg="loop.steps=12"), tmp_path / "a", quiet=True)
    run_stage(make_run(arg="loop.steps=8"), tmp_path / "b", quiet=True)
    checkpoints = tmp_path / "b" / "fake_first" / "checkpoints"
    rows = (checkpoints.parent / "metrics.jsonl").read_bytes()
    for file in (checkpoints / "8" / "params").rglob("d/*"):  # cut off
        file.write_bytes(file.read_bytes()[:30])
    run = make_run(arg="loop.steps=12")
    told = f"4 is whole: .* --workdir {tmp_path / 'b'} --from-step 4$"
    with pytest.raises(UserError, match=told):
        run_stage(run, tmp_path / "b", quiet=True)
    assert (checkpoints.parent / "metrics.jsonl").read_bytes() == rows
    result = run_stage(run, tmp_path / "b", quiet=True, from_step=4)
    assert result.resumed == 4
    assert (checkpoints.parent / "set_aside-0" / "8").is_dir()
    ema = [manager.read_item(one.checkpoint, "ema") for one in (straight, result)]
    np.testing.assert_array_equal(ema[0]["w"], ema[1]["w"])
