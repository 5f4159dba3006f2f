"""What is left out: updates that are not finite, spikes, and excluded sessions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.data.batches import open_steps
from anchoredit_jax.data.feature_cache import _pack, _unpack, build_cache, part_name
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.session_batches import group_prepared
from anchoredit_jax.errors import UserError
from anchoredit_jax.run_config import LoopConfig
from anchoredit_jax.stages.spikes import KNOWN, WINDOW, look
from anchoredit_jax.training import loop
from anchoredit_jax.training.divergence import DivergedError
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.state import restore_state
from tests.data.corpus import make_corpus
from tests.training.fake_stages import linear_stage, make_run
from tests.training.test_loop import assert_bit_equal, rows_of

pytestmark = pytest.mark.usefixtures("fake_linear", "compiled_anew")

COMMON = "data.kind=sessions,data.sessions.layout=pairs,data.size=24,loop.log_every=1"
COMMON += ",data.sessions.buckets.max_ratio=1"
COMMON += ",data.null_fraction=0,loop.checkpoint_every=2"


@pytest.fixture
def fake_linear(fake_stages):
    """A stage whose update is that of its gradient, beside the other fake ones."""
    fake_stages["fake_linear"] = linear_stage()


def run_of(arg=""):
    return make_run("fake_linear", arg)


def train(workdir, arg="", **options):
    return run_stage(run_of(arg), workdir, quiet=True, **options)


def rewrite(path, change):
    """Every record of a feature cache's part, as `change` makes it."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from grain.sources import ArrayRecordDataSource

    source = ArrayRecordDataSource([str(path)])
    records = [change(i, _unpack(i, source[i])) for i in range(len(source))]
    path.unlink()
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for number, record in enumerate(records):
        writer.write(_pack(number, save(record)))
    writer.close()


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """(settings of a dataset whose cache holds a NaN, the bad session's number and
    name, the first step that shows it)."""
    root = tmp_path_factory.mktemp("spoilt")
    make_corpus(root / "raw", good=6)
    prepare(root / "raw", root / "prepared", languages=("en", "zh"))
    arg = f"{COMMON},data.sessions.path={root / 'prepared'}"
    run = make_run("single_turn", arg)
    codec, text = loop.make_codec_and_text(run)
    steps = open_steps(run.data, codec, text)
    sessions = PreparedSessions(root / "prepared")
    first: dict[int, int] = {}
    for step in range(steps.plan.steps_per_epoch):
        for sample in steps[step]["id"].tolist():
            first.setdefault(sample % len(sessions), step + 1)
    bad = next(number for number, step in first.items() if 3 <= step <= 8)
    groups = group_prepared(sessions, run.data, codec.stride, run.model.patch)
    build_cache(root / "cache", sessions, groups, codec, text)

    def change(number, record):
        if number == bad:
            record = dict(record, latents=np.full_like(record["latents"], 0x7FC0))
        return record

    rewrite(root / "cache" / part_name(0), change)
    arg += f",data.sessions.cache={root / 'cache'}"
    return arg, bad, sessions[bad].key, first[bad]


def test_a_nan_in_a_cache_stops_a_run_which_goes_on_without_the_session(
    spoilt, tmp_path
):
    arg, _, name, step = spoilt
    with pytest.raises(DivergedError) as error:
        train(tmp_path, arg)
    said = str(error.value)
    assert f"at step {step}; not finite: batch/latents of sample " in said
    assert f"(session {name!r})" in said
    assert "with --change, data.sessions.exclude=" in said
    assert "loop.skip_nonfinite=1 with --change" in said
    last = (step - 1) // 2 * 2
    assert f"last checkpoint: step {last}" in said
    exclude = f"data.sessions.exclude={json.dumps([name])}"
    with pytest.raises(UserError, match="differs in data.sessions.exclude.*--change"):
        train(tmp_path, f"{arg},{exclude}")
    went = train(tmp_path, f"{arg},{exclude}", change=True, from_step=last)
    assert (went.resumed, went.step) == (last, 10)
    rows = read_metrics(tmp_path / "fake_linear" / "metrics.jsonl")
    assert all(np.isfinite(row["loss"]) for row in rows)
    (change,) = manager.read_meta(went.checkpoint)["changes"]
    assert change["settings"]["data.sessions.exclude"] == [[], [name]]


def test_updates_that_are_not_finite_are_left_out_and_counted(spoilt, tmp_path, capsys):
    arg, _, name, step = spoilt
    arg += ",loop.skip_nonfinite=9"
    straight = train(tmp_path / "a", arg)
    said = capsys.readouterr().err
    assert (
        f"stage fake_linear: step {step}: the loss is nan; its update is left" in said
    )
    assert "(1 of 9): batch/latents of sample " in said and repr(name) in said
    rows = rows_of(tmp_path / "a/fake_linear")
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert "loss" not in rows[step - 1] and rows[step - 1]["skipped"] == 1
    assert rows[step - 2]["skipped"] == 0
    count = manager.read_meta(straight.checkpoint)["skipped"]
    assert count == {"nonfinite": rows[-1]["skipped"], "spikes": 0}
    # A run that was stopped right behind it counts on, and ends in the same bits.
    train(tmp_path / "b", f"{arg},loop.steps={step}")
    killed = train(tmp_path / "b", arg)
    assert manager.read_meta(killed.checkpoint)["skipped"] == count
    assert_bit_equal(
        restore_state(run_of(arg), killed.checkpoint),
        restore_state(run_of(arg), straight.checkpoint),
    )
    assert rows_of(tmp_path / "b/fake_linear") == rows


def test_the_count_is_over_the_whole_run(spoilt, tmp_path):
    arg, _, _, step = spoilt
    train(tmp_path, f"{arg},loop.skip_nonfinite=1,loop.steps={step}")
    with pytest.raises(DivergedError, match="besides the 1 left out before"):
        train(tmp_path, f"{arg},loop.skip_nonfinite=1,loop.steps=200")


def test_a_spike_is_one_against_the_median_of_known_norms():
    config = LoopConfig(spike_factor=3.0)

    def grads(norm):
        return {"w": jnp.float32([norm, 0.0])}

    norms = jnp.full((WINDOW,), jnp.nan)
    for count in range(KNOWN):
        assert not look(norms, grads(100.0), config)[1], count
        norms, _ = look(norms, grads(1.0 + count % 2), config)
    for value, spike in ((4.4, False), (4.6, True), (np.nan, False), (np.inf, False)):
        assert bool(look(norms, grads(value), config)[1]) == spike
    kept, _ = look(norms, grads(np.nan), config)
    np.testing.assert_array_equal(kept, norms)
    risen = norms
    for _ in range(WINDOW // 2 + 1):  # for good: the median follows
        risen, spike = look(risen, grads(50.0), config)
    assert not look(risen, grads(50.0), config)[1] and bool(spike) is False


@pytest.mark.parametrize("skip", [False, True])
def test_spikes_are_told_and_may_be_left_out(tmp_path, monkeypatch, capsys, skip):
    """A batch of large latents behind twenty that are not."""
    iterate = loop.iterate_batches

    def spiking(dataset, start, **options):
        for number, batch in enumerate(iterate(dataset, start, **options), start + 1):
            if number == 21:
                batch = dict(batch, latents=batch["latents"] * np.float32(30))
            yield batch

    monkeypatch.setattr(loop, "iterate_batches", spiking)
    arg = f"loop.spike_factor=5,loop.skip_spikes={skip},loop.log_every=1"
    straight = train(tmp_path / "a", f"{arg},loop.steps=24")
    said = capsys.readouterr().err
    assert "step 21: the gradient's norm is a spike, more than 5 times the med" in said
    assert ("its update is left out: samples 40, 41" in said) == skip
    rows = rows_of(tmp_path / "a/fake_linear")
    assert [row["step"] for row in rows if row["spike"]] == [21]
    count = manager.read_meta(straight.checkpoint)["skipped"]
    assert count == {"nonfinite": 0, "spikes": int(skip)}
    train(tmp_path / "b", f"{arg},loop.steps=19")
    resumed = train(tmp_path / "b", f"{arg},loop.steps=24")
    states = [restore_state(run_of(arg), one.checkpoint) for one in (straight, resumed)]
    assert_bit_equal(*states)
    assert rows_of(tmp_path / "b/fake_linear") == rows
    moved = [
        restore_state(run_of(arg), tmp_path / f"a/fake_linear/checkpoints/{step}")
        for step in (20, 24)
    ]
    counts = [int(jax.tree.leaves(state.opt_state)[0]) for state in moved]
    assert counts == [20, 24 - skip]


def test_spikes_may_be_looked_for_from_some_step_on(tmp_path):
    train(tmp_path, "loop.steps=4")
    watched = train(tmp_path, "loop.steps=8,loop.spike_factor=5", change=True)
    state = restore_state(run_of("loop.spike_factor=5"), watched.checkpoint)
    assert int(np.isfinite(state.norms["params"]).sum()) == 4
    plain = train(tmp_path, change=True)
    assert restore_state(run_of(), plain.checkpoint).norms is None


def test_settings_that_need_each_other():
    for settings, said in (
        (dict(spike_factor=0.5), "more than 1"),
        (dict(skip_spikes=True), "needs loop.spike_factor"),
        (dict(skip_nonfinite=-1), "skip_nonfinite must be in"),
        (dict(keep_best=1), "need each other"),
        (dict(best_by="loss"), "need each other"),
        (dict(keep_every=0), "keep_every must be in"),
        (dict(best_mode="most"), "one of min, max"),
    ):
        with pytest.raises(UserError, match=said):
            LoopConfig(**settings)
