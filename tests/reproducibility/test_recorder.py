"""Certificates of runs of the fake stages: whole, resumed, thinned, and cheap."""

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.reproducibility import compare, read
from anchoredit_jax.reproducibility.recorder import Recorder
from anchoredit_jax.reproducibility.rerun import Steps, check
from anchoredit_jax.training import loop
from anchoredit_jax.training.loop import make_dataset, run_stage
from anchoredit_jax.training.stopping import Stopped
from tests.reproducibility.certified import certify, first_difference
from tests.training.fake_stages import make_run, replace_step

pytestmark = pytest.mark.usefixtures("fake_stages")


def test_a_run_leaves_a_row_a_step_and_its_arrays(tmp_path):
    made = certify(tmp_path)
    assert [row.step for row in made.rows] == list(range(1, 11))
    assert list(made.checkpoints) == [4, 8, 10]
    names = made.checkpoints[10].keys()
    assert {"step", "params/w", "ema/w", "opt_state/0/mu/w"} <= names
    assert len({row.draws for row in made.rows}) == 10
    assert len({row.data for row in made.rows}) == 10
    assert made.rows[0].metrics.keys() == {"even", "loss"}
    assert made.parent is None
    (segment,) = made.segments
    assert segment.first == 1 and segment.environment["platform"] == "cpu"
    assert "--xla_force_host" in segment.environment["XLA_FLAGS"]
    assert {"jax", "optax", "python", "mesh", "pillow", "grain", "tensorstore"} <= set(
        segment.environment
    )
    assert segment.environment["processor"] or not Path("/proc/cpuinfo").exists()


def test_the_next_stage_names_its_parent(tmp_path):
    certify(tmp_path)
    made = certify(tmp_path, stage="fake_second")
    assert (made.parent["stage"], made.parent["step"]) == ("fake_first", 10)
    assert "teacher/w" in made.checkpoints[10]


@pytest.mark.parametrize("cut", [4, 7])
def test_a_resumed_run_goes_on_with_its_certificate(tmp_path, cut):
    straight = certify(tmp_path / "a")
    certify(tmp_path / "b", f"loop.steps={cut}")
    resumed = certify(tmp_path / "b")
    assert resumed.rows == straight.rows
    assert {s: resumed.checkpoints[s] for s in (4, 8, 10)} == straight.checkpoints
    assert resumed.segments == straight.segments  # the same environment: one segment


def test_rows_past_the_resumed_step_are_dropped(tmp_path):
    """As rows of metrics: a run that died after step 8 of a checkpoint at 4."""
    straight = certify(tmp_path)
    folder = tmp_path / "fake_first"
    for step in (8, 10):
        shutil.rmtree(folder / "checkpoints" / str(step))
    resumed = certify(tmp_path)
    assert resumed == straight
    assert [row.step for row in resumed.rows] == list(range(1, 11))


def test_another_environment_begins_a_segment(tmp_path, monkeypatch):
    certify(tmp_path, "loop.steps=4")
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--some --flag")
    made = certify(tmp_path)
    assert [segment.first for segment in made.segments] == [1, 5]
    flags = [segment.environment["LIBTPU_INIT_ARGS"] for segment in made.segments]
    assert flags == ["", "--flag --some"]


def test_a_run_that_began_without_one_is_certified_from_there_on(tmp_path):
    run_stage(make_run("fake_first", "loop.steps=4"), tmp_path, quiet=True)
    made = certify(tmp_path)
    assert [row.step for row in made.rows] == list(range(5, 11))
    assert made.segments[0].first == 5
    assert first_difference(made, certify(tmp_path / "b")) is None


def test_a_finished_run_without_one_is_refused(tmp_path):
    run_stage(make_run("fake_first"), tmp_path, quiet=True)
    with pytest.raises(UserError, match="finished without a certificate"):
        certify(tmp_path)


def test_a_signal_leaves_a_whole_certificate(tmp_path, fake_stages):
    make_train_step, calls = fake_stages["fake_first"].make_train_step, []

    def signalling(run):
        step = make_train_step(run)

        def call(*args):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(*args)

        return call

    straight = certify(tmp_path / "a")
    replace_step(fake_stages, "fake_first", signalling)
    with pytest.raises(Stopped):
        certify(tmp_path / "b")
    assert [row.step for row in read(tmp_path / "b/fake_first").rows] == [1, 2, 3]
    resumed = certify(tmp_path / "b")
    assert resumed.rows == straight.rows


def test_every_few_steps(tmp_path):
    straight = certify(tmp_path / "a")
    thin = certify(tmp_path / "b", every=3)
    assert [row.step for row in thin.rows] == [3, 6, 9] and thin.every == 3
    assert thin.rows == tuple(row for row in straight.rows if row.step % 3 == 0)
    assert thin.checkpoints == straight.checkpoints
    with pytest.raises(UserError, match="--every must be 1"):
        Recorder(0)


def test_nothing_more_is_fetched_than_the_loop_fetches(tmp_path, monkeypatch):
    """Keys and digests come with the metrics, and at checkpoints."""
    seen = []
    device_get = jax.device_get

    class Watching(Recorder):
        def batch(self, step, of_host):
            seen.append(("batch", step))
            super().batch(step, of_host)

    def counting(tree):
        seen.append(("get", len(jax.tree.leaves(tree))))
        return device_get(tree)

    run = make_run("fake_first", "loop.log_every=5,loop.checkpoint_every=10")
    monkeypatch.setattr(jax, "device_get", counting)
    run_stage(run, tmp_path / "a", quiet=True)
    plain = [entry for entry in seen if entry[0] == "get"]
    seen.clear()
    run_stage(run, tmp_path / "b", quiet=True, observer=Watching())
    # Between two batches of a stretch only the loop's own check of the step before.
    place = {step: seen.index(("batch", step)) for step in range(1, 11)}
    for step in (2, 3, 4, 7, 8, 9):
        between = seen[place[step] + 1 : place[step + 1]]
        assert len(between) <= 1, between
    fetched = [entry for entry in seen if entry[0] == "get"]
    # The keys of five steps each, and the arrays of one checkpoint.
    assert len(fetched) == len(plain) + 2 + 1


def test_a_changed_record_of_the_same_number_is_seen(tmp_path, monkeypatch):
    """Row 53 of the user reports: records and crops are in the digest, not numbers
    alone."""
    straight = certify(tmp_path / "a")

    class OneChanged:
        def __init__(self, dataset):
            self.dataset = dataset

        def __getitem__(self, step):
            batch = dict(self.dataset[step])
            if step == 2:
                batch["latents"] = batch["latents"].copy()
                batch["latents"][1, 0, 0, 0, 0] += np.float32(0.25)
            return batch

    monkeypatch.setattr(
        loop, "make_dataset", lambda *args: OneChanged(make_dataset(*args))
    )

    def in_order(dataset, start, workers):
        step = start
        while True:
            yield dataset[step]
            step += 1

    monkeypatch.setattr(loop, "iterate_batches", in_order)
    changed = certify(tmp_path / "b")
    comparison = compare(straight, changed)
    first = comparison.first[0]
    assert (first.step, first.kind, first.name) == (3, "data", "data")
    assert "ids" not in [difference.name for difference in comparison.first]


def test_another_seed_is_seen_as_other_draws(tmp_path):
    """Row 22 of the user reports."""
    straight = certify(tmp_path / "a")
    other = certify(tmp_path / "b", "data.seed=3")
    assert first_difference(straight, other) == (1, "data", "data")
    run = make_run("fake_first")
    run_stage(
        dataclasses.replace(run, seed=4),
        tmp_path / "c",
        quiet=True,
        observer=Recorder(),
    )
    seeded = read(tmp_path / "c" / "fake_first")
    comparison = compare(straight, seeded)
    assert "config: seed: 3 | 4" in comparison.causes
    assert first_difference(straight, seeded) == (1, "draws", "draws")


def test_changes_of_a_run_are_certified_and_its_parts_can_be_checked(tmp_path):
    straight = certify(tmp_path / "a")
    certify(tmp_path / "b", "loop.steps=4")
    arg = "optimizer.learning_rate=0.05"
    changed = certify(tmp_path / "b", arg, change=True)
    (change,) = changed.changes
    assert change == {"step": 4, "settings": {"optimizer.learning_rate": [0.01, 0.05]}}
    causes = compare(straight, changed).causes
    assert "changes: none | optimizer.learning_rate behind step 4" in causes
    folder = tmp_path / "b" / "fake_first"
    with pytest.raises(UserError, match="behind step 4: check --steps 0:4 .* 4:10"):
        check(make_run("fake_first", arg), folder, tmp_path / "c", quiet=True)
    found, _ = check(
        make_run("fake_first", arg), folder, tmp_path / "c", Steps(4), quiet=True
    )
    assert found.equal and found.steps == 6
    found, _ = check(
        make_run("fake_first"), folder, tmp_path / "d", Steps(0, 4), quiet=True
    )
    assert found.equal and found.steps == 4


def test_a_certificate_goes_back_with_its_run(tmp_path):
    straight = certify(tmp_path)
    again = certify(tmp_path, from_step=4)
    assert compare(straight, again).equal and again.rows == straight.rows
    kept = read(tmp_path / "fake_first" / "set_aside-0")
    assert kept.rows == straight.rows


def test_a_certificate_from_before_there_were_changes_is_still_one(tmp_path):
    made = certify(tmp_path)
    path = tmp_path / "fake_first" / "certificate.json"
    values = json.loads(path.read_text())
    del values["changes"], values["config"]["data"]["drop_fraction"], values["digest"]
    values["format"] = "anchoredit_jax.certificate/1"
    path.write_text(json.dumps(values))
    assert read(path).changes == ()
    assert compare(read(path), made).causes == ()
