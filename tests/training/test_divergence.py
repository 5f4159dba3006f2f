"""A NaN or an infinity stops a run within a step, and is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.config import load_config
from anchoredit_jax.optimizer import OptimizerConfig, make_optimizer
from anchoredit_jax.parallel import MeshConfig, make_mesh
from anchoredit_jax.stages import step as steps
from anchoredit_jax.training import divergence, loop
from anchoredit_jax.training.divergence import DivergedError, Watch
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.trees import not_finite
from tests.training.fake_stages import make_run, replace_step


def spoil(monkeypatch, step, value):
    """Batch number `step` has `value` in the latents of its second sample.

    Returns:
      a list of the numbers of the batches that were asked for.
    """
    asked, iterate = [], loop.iterate_batches

    def spoiling(*args, **options):
        for number, batch in enumerate(iterate(*args, **options), 1):
            asked.append(number)
            if number == step:
                batch = dict(batch, latents=np.array(batch["latents"]))
                batch["latents"][1, 0, 0, 0, 0] = value
            yield batch

    monkeypatch.setattr(loop, "iterate_batches", spoiling)
    return asked


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_batch_stops_a_stage_and_names_step_sample_and_leaves(
    tmp_path, monkeypatch, value
):
    asked = spoil(monkeypatch, 5, value)
    run = load_config(
        "configs/sprites.py:stage=single_turn,steps=40,data.batch=2,data.turns=1,"
        "model.dim=24,model.ffn_dim=24,model.num_heads=2,model.num_layers=1,"
        "model.freq_dim=8,loop.log_every=40,loop.checkpoint_every=4,"
        "eval.every=0,eval.edits_every=0"
    )
    with pytest.raises(DivergedError) as error:
        run_stage(run, tmp_path, quiet=True)
    said = str(error.value)
    assert said.startswith("stage single_turn: the loss is nan at step 5; not finite: ")
    assert "batch/latents of sample 9; gradients of params/blocks/" in said
    assert " more; last checkpoint: step 4. Look at the data" in said
    assert len(asked) <= 6 + 4  # one step more, and what is read ahead
    folder = tmp_path / "single_turn"
    assert manager.committed_steps(folder / "checkpoints") == [4]
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == [4]


@pytest.mark.usefixtures("fake_stages")
def test_it_stops_one_step_later_and_saves_nothing_of_it(tmp_path, fake_stages):
    make_train_step, calls = fake_stages["fake_first"].make_train_step, []

    def counting(run):
        step = make_train_step(run)
        return lambda *args: calls.append(1) or step(*args)

    replace_step(fake_stages, "fake_first", counting)
    run = make_run(
        "fake_first",
        "options.diverge_at=5,loop.steps=100,loop.log_every=100,"
        "loop.checkpoint_every=100",
    )
    with pytest.raises(DivergedError, match="nan at step 5; .* checkpoint: none"):
        run_stage(run, tmp_path, quiet=True)
    assert len(calls) == 6
    assert not manager.committed_steps(tmp_path / "fake_first" / "checkpoints")


def state_of(value=1.0):
    leaf = jnp.full((3,), 1.0).at[1].set(value)
    params = {"a": jnp.ones((2, 2)), "b": leaf}
    return steps.TrainState(jnp.int32(7), params, opt_state=None, ema=None)


def metrics_of(loss=1.0, finite=(True, True)):
    return {"loss": jnp.float32(loss), "finite": {"params": jnp.array(finite)}}


BATCH = {"latents": np.ones((2, 3), np.float32), "id": np.arange(2)}


def test_a_step_is_looked_at_when_the_next_one_is_under_way(monkeypatch):
    fetched = []
    monkeypatch.setattr(
        divergence.jax, "device_get", lambda x: fetched.append(float(x[0])) or x
    )
    watch = Watch("a_stage")
    seen = []
    for step in (1, 2, 3):
        logged = watch.follow(step, metrics_of(step), BATCH, None, 0)
        assert set(logged) == {"loss"}
        seen.append(list(fetched))
    assert seen == [[], [1.0], [1.0, 2.0]]
    watch.settle(None, 0)
    watch.settle(None, 0)
    assert fetched == [1.0, 2.0, 3.0]


def diverged(metrics, state):
    watch = Watch("a_stage")
    watch.follow(7, metrics, BATCH, state, 4)
    with pytest.raises(DivergedError) as error:
        watch.settle(state, 4)
    return str(error.value)


def test_what_is_not_finite_is_named():
    said = diverged(metrics_of(finite=(True, False)), state_of())
    assert (
        "a gradient is not finite at step 7; not finite: gradients of params/b; "
        in (said)
    )
    assert "Lower the learning rate" in said
    said = diverged(metrics_of(np.inf, (False, False)), state_of(np.inf))
    assert "the loss is inf at step 7; not finite: params/b; gradients of params/a" in (
        said
    )


def test_an_update_with_a_gradient_that_is_not_finite_is_not_applied():
    """Nor are its moments; the leaf is told apart from those that clipping spoils."""
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((3,)), "c": jnp.ones((1,))}
    config = OptimizerConfig(warmup=1)
    opt_state = make_optimizer(config).init(params)

    @jax.jit
    def update(loss, grads):
        return steps.update(config, loss, grads, opt_state, params)

    good = jax.tree.map(jnp.ones_like, params)
    moved, _, metrics, finite = update(1.0, good)
    assert finite.all() and np.isfinite(metrics["grad_norm"])
    assert all((moved[name] != params[name]).any() for name in params)
    bad = dict(good, b=good["b"].at[2].set(jnp.nan))
    for loss, grads, flags in (
        (1.0, bad, [True, False, True]),
        (jnp.inf, good, [False] * 3),
    ):
        kept, kept_moments, _, finite = update(loss, grads)
        np.testing.assert_array_equal(finite, flags)
        jax.tree.map(np.testing.assert_array_equal, kept, params)
        jax.tree.map(np.testing.assert_array_equal, kept_moments, opt_state)


def test_arrays_on_a_mesh_are_looked_at_where_they_lie():
    mesh = make_mesh(MeshConfig(2, fsdp=4))
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    whole = NamedSharding(mesh, PartitionSpec())
    tree = {
        "fine": jax.device_put(np.ones((8, 2), np.float32), rows),
        "bad": jax.device_put(np.where(np.eye(8), np.float32(np.nan), 1), rows),
        "narrow": jax.device_put(jnp.full((3,), jnp.inf, jnp.bfloat16), whole),
        "count": jax.device_put(np.int32(3), whole),
    }
    assert not_finite(tree) == ["bad", "narrow"]
    assert not_finite({"count": tree["count"]}) == []
