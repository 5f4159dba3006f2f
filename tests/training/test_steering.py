"""Runs that are changed while they go on, and runs that go back first."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.convert import describe, open_weights
from anchoredit_jax.data.prepared import prepare
from anchoredit_jax.encoders import make_codec
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import CodecConfig
from anchoredit_jax.optimizer import make_optimizer
from anchoredit_jax.stages.step import make_train_state
from anchoredit_jax.testing import tiny_params, tiny_run
from anchoredit_jax.training import loop
from anchoredit_jax.training.curriculum import run_curriculum
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.state import restore_state
from anchoredit_jax.training.steering import go_on
from tests.data.corpus import make_corpus
from tests.training.fake_stages import make_run
from tests.training.test_loop import assert_bit_equal, rows_of

pytestmark = pytest.mark.usefixtures("fake_stages", "compiled_anew")

CODEC = make_codec(CodecConfig())


def train(workdir, arg="", **options):
    return run_stage(make_run("fake_first", arg), workdir, quiet=True, **options)


def meta_of(result):
    return manager.read_meta(result.checkpoint)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    for count in (6, 10):
        make_corpus(root / f"raw{count}", good=count)
        prepare(root / f"raw{count}", root / str(count), languages=("en", "zh"))
    return root


def steered(workdir, datasets, stops):
    """Twelve steps: another learning rate behind step 4; another batch, a larger
    dataset and another mesh behind step 8. Every stop is a new start."""
    parts = [
        (4, f"data.sessions.path={datasets / '6'}"),
        (8, f"data.sessions.path={datasets / '6'},optimizer.learning_rate=0.05"),
        (12, f"data.sessions.path={datasets / '10'},optimizer.learning_rate=0.05,"
             "data.batch=4,mesh.data=2"),
    ]  # fmt: skip
    common = (
        "data.kind=sessions,data.sessions.layout=pairs,data.size=24,loop.log_every=1"
        ",data.sessions.buckets.max_ratio=1"
    )
    begun = 0
    for last, arg in parts:
        for stop in sorted({last, *(s for s in stops if begun < s < last)}):
            result = train(
                workdir, f"{common},{arg},loop.steps={stop}", change=begun > 0
            )
        begun = last
    return result, make_run("fake_first", f"{common},{arg}")


def test_a_steered_run_that_is_killed_equals_one_that_is_not(tmp_path, datasets):
    straight, run = steered(tmp_path / "a", datasets, ())
    killed, _ = steered(tmp_path / "b", datasets, (2, 5, 9, 10))
    ours, theirs = (restore_state(run, r.checkpoint) for r in (killed, straight))
    assert_bit_equal(ours, theirs)
    rows = rows_of(tmp_path / "b/fake_first")
    assert rows == rows_of(tmp_path / "a/fake_first") and len(rows) == 12
    assert meta_of(killed)["changes"] == meta_of(straight)["changes"]
    assert meta_of(killed)["legs"] == meta_of(straight)["legs"]
    first, second = meta_of(killed)["changes"]
    assert first == {"step": 4, "settings": {"optimizer.learning_rate": [0.01, 0.05]}}
    assert second["step"] == 8
    assert second["settings"]["data.batch"] == [2, 4]
    old, new = second["settings"]["content.sessions"]
    assert old != new
    lineage = assets.load_weights(killed.checkpoint).lineage
    assert lineage.changes == (first, second)
    assert "fake_first@12 (" in lineage.describe()
    assert "changed behind step 4 and 8)" in lineage.describe()
    # Those who start from it tell it on.
    parent = run_stage(make_run("fake_second"), tmp_path / "b", quiet=True)
    lineage = assets.load_weights(parent.checkpoint).lineage
    assert lineage.changes == () and lineage.parent.changes == (first, second)


def test_no_session_comes_again_before_the_rest(tmp_path, datasets, monkeypatch):
    """What `test_a_steered_run` trains on: the ids of the loop's own batches."""
    seen, iterate = [], loop.iterate_batches

    def recording(*args, **options):
        for batch in iterate(*args, **options):
            seen.extend(batch["id"][batch["frame_valid"].any(1)].tolist())
            yield batch

    common = f"data.kind=sessions,data.sessions.path={datasets / '6'},data.size=24"
    common += ",data.sessions.buckets.max_ratio=1"
    common += ",data.sessions.layout=pairs,data.null_fraction=0"
    monkeypatch.setattr(loop, "iterate_batches", recording)
    train(tmp_path, f"{common},loop.steps=4")
    with pytest.raises(UserError, match="add --change to go on with it from step 4"):
        train(tmp_path, f"{common},data.batch=3")
    train(tmp_path, f"{common},loop.steps=6,data.batch=3", change=True)
    assert len(seen) > 10 and len(set(seen)) == len(seen)  # an epoch has 21 edits


def test_differences_are_told_with_the_flag_that_allows_them(tmp_path):
    train(tmp_path, "loop.steps=4")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        train(tmp_path, "data.batch=4,optimizer.learning_rate=0.5")
    said = str(error.value)
    assert (
        "differs in data.batch: 2, now 4, optimizer.learning_rate: 0.01, now 0.5"
        in (said)
    )
    assert "add --change to go on with it from step 4" in said
    with pytest.raises(UserError, match="model.dim: 8, now 16.*may not change"):
        train(tmp_path, "model.dim=16", change=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arg",
    [
        "optimizer.schedule=constant,optimizer.steps=7,optimizer.warmup=3",
        "optimizer.clip=0,optimizer.ema=0",
        "sampler.guidance=3",
        "data.turns=2",
        "seed=9",
    ],
)
def test_what_is_not_geometry_may_change_and_is_recorded(tmp_path, arg):
    train(tmp_path, "loop.steps=4")
    if arg == "seed=9":
        run = dataclasses.replace(make_run("fake_first", "loop.steps=6"), seed=9)
        result = run_stage(run, tmp_path, quiet=True, change=True)
    else:
        result = train(tmp_path, f"{arg},loop.steps=6", change=True)
    assert result.resumed == 4
    (change,) = meta_of(result)["changes"]
    names = {pair.partition("=")[0] for pair in arg.split(",")}
    assert names <= change["settings"].keys()
    # The flag may stay: nothing differs any more.
    again = arg if arg != "seed=9" else ""
    run = make_run("fake_first", f"{again},loop.steps=8")
    run = dataclasses.replace(run, seed=9 if arg == "seed=9" else run.seed)
    more = run_stage(run, tmp_path, quiet=True, change=True)
    assert meta_of(more)["changes"] == [change]


def test_a_codec_of_other_weights_is_refused_in_any_case(tmp_path):
    run = make_run("fake_first")
    meta = {
        "step": 4,
        "config": run.to_json(),
        "content": {"sessions": "a", "codec": "b"},
    }
    content = {"sessions": "a", "codec": "c"}
    with pytest.raises(UserError, match="another codec .*must be the same$"):
        go_on(run, content, CODEC, meta, tmp_path, change=True)
    content = {"sessions": "d", "codec": "b"}
    with pytest.raises(UserError, match="another sessions .*; --change goes on with"):
        go_on(run, content, CODEC, meta, tmp_path)
    history = go_on(run, content, CODEC, meta, tmp_path, change=True)
    assert history.changes[0]["settings"] == {"content.sessions": ["a", "d"]}


def test_a_checkpoint_from_before_changes_were_kept_goes_on(tmp_path):
    run = make_run("fake_first")
    meta = {"step": 4, "config": run.to_json()}
    history = go_on(run, {"sessions": "a"}, CODEC, meta, tmp_path)
    assert history.changes == () and [leg.step for leg in history.legs] == [0]
    more = make_run("fake_first", "data.batch=4")
    history = go_on(more, {"sessions": "a"}, CODEC, meta, tmp_path, change=True)
    assert [(leg.step, leg.data.batch, leg.place) for leg in history.legs] == [
        (4, 4, 8)
    ]


def test_moments_go_on_in_another_structure_and_dtype(tmp_path, fake_stages):
    """Clipping wraps the optimizer's state, and moments may be kept narrower."""

    def init_state(run, parent=None):
        return make_train_state({"w": jnp.ones((4, 3))}, run.optimizer)

    fake_stages["fake_first"] = dataclasses.replace(
        fake_stages["fake_first"], init_state=init_state
    )
    run = make_run("fake_first")
    state = init_state(run)
    grads = {"w": jnp.arange(12.0).reshape(4, 3)}
    with jax.numpy_dtype_promotion("standard"):
        _, moved = make_optimizer(run.optimizer).update(
            grads, state.opt_state, state.params
        )
    state = state.replace(opt_state=moved)
    saver = manager.open_manager(tmp_path, None)
    manager.save(saver, 1, state, assets.make_meta("fake_first", 1, run, None))
    saver.close()
    other = make_run("fake_first", "optimizer.clip=0,optimizer.mu_dtype=bfloat16")
    found = restore_state(other, tmp_path / "1")
    expected = init_state(other).opt_state
    assert jax.tree.structure(found.opt_state) == jax.tree.structure(expected)
    for old, new in zip(
        jax.tree.leaves(moved), jax.tree.leaves(found.opt_state), strict=True
    ):
        np.testing.assert_array_equal(old.astype(new.dtype), new)
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(found.opt_state)}
    assert dtypes == {"int32", "float32", "bfloat16"}


def test_going_back_moves_later_checkpoints_aside(tmp_path, capsys):
    train(tmp_path / "a")
    arg = "optimizer.learning_rate=0.05"
    went = train(tmp_path / "a", arg, from_step=4, change=True)
    assert went.resumed == 4 and went.step == 10
    folder = tmp_path / "a/fake_first"
    aside = folder / "set_aside-0"
    assert f"the checkpoints of 8, 10 and their metrics are in {aside}" in (
        capsys.readouterr().err
    )
    assert manager.committed_steps(aside) == [8, 10]
    assert [row["step"] for row in read_metrics(aside / "metrics.jsonl")] == [6, 8, 10]
    assert assets.peek(aside / "8") == ("fake_first", 8)
    # It is the run that had been changed there from the beginning.
    train(tmp_path / "b", "loop.steps=4")
    other = train(tmp_path / "b", arg, change=True)
    run = make_run("fake_first", arg)
    assert_bit_equal(
        restore_state(run, went.checkpoint), restore_state(run, other.checkpoint)
    )
    assert rows_of(folder) == rows_of(tmp_path / "b/fake_first")
    # The same command, as after a stop: it went back already.
    again = train(tmp_path / "a", arg, from_step=4, change=True)
    assert (again.resumed, again.metrics) == (10, {})
    # Also where nothing had to be moved, and its checkpoint is not kept any more.
    train(tmp_path / "c", "loop.steps=4")
    train(tmp_path / "c", f"{arg},loop.steps=8,loop.keep=1", from_step=4, change=True)
    again = train(tmp_path / "c", f"{arg},loop.keep=1", from_step=4, change=True)
    assert again.resumed == 8
    # With other settings it goes back again.
    train(tmp_path / "a", "optimizer.learning_rate=0.02", from_step=4, change=True)
    assert manager.committed_steps(folder / "set_aside-1") == [8, 10]
    assert len(read_metrics(folder / "metrics.jsonl")) == 5


def test_going_back_needs_a_checkpoint_and_moves_nothing_before_all_fits(tmp_path):
    train(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"no checkpoint of .*\(there: 4, 8, 10\)"):
        train(tmp_path, from_step=6)
    with pytest.raises(UserError, match="add --change"):
        train(tmp_path, "data.batch=4", from_step=4)
    with pytest.raises(UserError, match="may not change"):
        train(tmp_path, "model.dim=16", from_step=4, change=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert train(tmp_path, from_step=10).metrics == {}


def test_finished_stages_of_a_curriculum_stay_as_they_are(tmp_path):
    names = ("fake_first", "fake_second")
    runs = [make_run(name, "loop.steps=4") for name in names]
    run_curriculum(runs, tmp_path, quiet=True)
    arg = "optimizer.learning_rate=0.5"
    runs = [make_run(names[0], f"{arg},loop.steps=4"), make_run(names[1], arg)]
    with pytest.raises(UserError, match="add --change"):
        run_curriculum(runs, tmp_path, quiet=True)
    results = run_curriculum(runs, tmp_path, quiet=True, change=True)
    assert results["fake_first"].metrics == {}
    assert results["fake_second"].resumed == 4
    assert meta_of(results["fake_first"])["changes"] == []
    assert len(meta_of(results["fake_second"])["changes"]) == 1


def test_inspect_names_every_change(tmp_path):
    run, params = tiny_run("single_turn"), tiny_params()
    lineage = assets.Lineage(
        "single_turn", 12, assets.digest(params), json.loads(run.to_json()),
        changes=({"step": 4, "settings": {"data.batch": [2, 4]}},),
    )  # fmt: skip
    file = assets.save_bundle(tmp_path, params, run, lineage)
    said = describe(open_weights(file))
    assert "changed: single_turn behind step 4: data.batch: 2, then 4" in said
    assert assets.load_bundle(file).lineage == lineage
