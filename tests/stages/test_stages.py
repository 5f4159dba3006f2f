"""Every stage: one step, accumulation, gradients only where they belong."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer
from anchoredit_jax.parallel import state_shardings
from anchoredit_jax.stages import (
    causal_forcing,
    distill,
    scores,
)
from anchoredit_jax.stages import step as steps
from anchoredit_jax.stages.context import beside_history, swap_in
from anchoredit_jax.stages.sequence import sequence_loss
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run

LOSS = dict(edit_weight=0.5, hard_weight=0.5, turn_alpha=1.0)
OPTIONS = {
    "single_turn": dict(loss=LOSS),
    "causal_forcing": dict(
        loss=LOSS,
        memory_policies=((0, 0), (0, 2), (1, 2)),
        position_gap=4,
        history_noise=0.1,
        degrade=dict(colour=0.5, low_frequency=0.5, block=0.5, laplace=0.5, blur=0.5),
        rollout=dict(kind="one_pass", fraction=0.5),
    ),
    "consistency": dict(edit_weight=0.5, memory_policies=((0, 0), (1, 2))),
    "distribution_matching": dict(critic_ratio=2),
}


def parent():
    params = jax.tree.map(jnp.asarray, tiny_params())
    return dict(params=params, ema=params, teacher=params)


def run_steps(stage, count, options=None, **optimizer):
    run = tiny_run(
        stage, options=OPTIONS[stage] if options is None else options,
        optimizer=optimizer, sampler=dict(steps=2),
    )  # fmt: skip
    state = STAGES[stage].init_state(run, parent())
    step = STAGES[stage].make_train_step(run)
    state = jax.device_put(state, state_shardings(state, step.mesh))
    history = []
    for index in range(count):
        state, metrics = step(state, tiny_batch(4, seed=index))
        history.append(jax.device_get(metrics))
    return state, history, step


@functools.lru_cache
def six_steps(stage):
    """The run that several tests look at: compiled once."""
    return run_steps(stage, 6)


@pytest.mark.parametrize("stage", STAGES)
def test_one_program_trains_and_counts(stage):
    state, history, step = six_steps(stage)
    assert int(state.step) == 6
    assert all(np.isfinite(metrics["loss"]) for metrics in history)
    assert step.compilations == 1
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), state.params, parent()["params"]
    )
    assert any(jax.tree.leaves(moved))
    if state.teacher is not None:
        jax.tree.map(np.testing.assert_array_equal, state.teacher, parent()["params"])


@pytest.mark.parametrize(
    "stage",
    [
        "single_turn",
        pytest.param("causal_forcing", marks=pytest.mark.slow),
        pytest.param("consistency", marks=pytest.mark.slow),
    ],
)
def test_accumulation_equals_one_big_batch(stage):
    _, first, _ = six_steps(stage)
    _, second, _ = run_steps(stage, 1, accumulate=2)
    np.testing.assert_allclose(first[0]["loss"], second[0]["loss"], rtol=1e-5)
    np.testing.assert_allclose(first[0]["grad_norm"], second[0]["grad_norm"], rtol=1e-4)


def test_ema_starts_as_the_weights_it_was_given():
    run = tiny_run("causal_forcing", options={})
    state = STAGES["causal_forcing"].init_state(run, parent())
    jax.tree.map(np.testing.assert_array_equal, state.ema, parent()["params"])


def test_generator_and_critic_keep_their_ratio():
    """Over six batches the critic is updated six times, the generator three."""
    state, history, _ = six_steps("distribution_matching")
    updates = [np.isfinite(metrics["generator_loss"]) for metrics in history]
    assert updates == [True, False, True, False, True, False]
    counts = [
        {int(x) for x in jax.tree.leaves(opt) if x.dtype == jnp.int32 and x.ndim == 0}
        for opt in (state.opt_state, state.critic_opt_state)
    ]
    assert counts == [{3}, {6}]
    for metrics in history:  # steps without a generator update are no divergence
        assert metrics["finite"]["params"].all() and metrics["finite"]["critic"].all()


def test_mixed_turn_counts_equal_separate_runs():
    """Padding and masking: the loss of a mixed batch is the mean of its parts."""
    run = tiny_run("causal_forcing", options=dict(clean_history=0.0))
    params, state = (
        parent()["params"],
        STAGES["causal_forcing"].init_state(run, parent()),
    )
    batch = tiny_batch(2, 4)
    batch["frame_valid"][1, 2:] = 0.0
    mixed, _, _ = causal_forcing.loss_fn(run, params, state, batch)
    for row in range(2):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        errors, _, _ = causal_forcing.loss_fn(run, params, state, alone)
        np.testing.assert_allclose(errors[0], mixed[row], rtol=2e-5)
    # What stands in the padding must not matter.
    batch = batch | {"latents": batch["latents"].copy()}
    batch["latents"][1, 2:] = 7.0
    again, _, _ = causal_forcing.loss_fn(run, params, state, batch)
    np.testing.assert_allclose(again, mixed, rtol=1e-6)


def test_replaced_frames_are_context_and_no_target():
    latents = jnp.zeros((1, 4, 2, 2, 1))
    wanted = jnp.ones((1, 4), bool)
    context, replaced = swap_in(latents, latents + 1.0, wanted)
    np.testing.assert_array_equal(replaced, [[False, True, True, False]])
    np.testing.assert_array_equal(context[0, :, 0, 0, 0], [0, 1, 1, 0])


def velocity_beside(history, visibility, noised, timesteps):
    model = tiny_run("causal_forcing", options={}).model
    network = functools.partial(Transformer(model).apply, text=tiny_batch(1, 4)["text"])
    positions = jnp.arange(4, dtype=jnp.float32)[None]
    velocity = beside_history(network, history, visibility, positions)
    return jax.jit(velocity)({"params": tiny_params()}, noised, timesteps)


def test_targets_beside_their_history_are_what_a_memory_would_give():
    """Alone, last in a causal sequence of clean frames, target i gets the same."""
    latents = jnp.asarray(tiny_batch(1, 4)["latents"])
    noised = latents + jax.random.normal(jax.random.key(1), latents.shape)
    timesteps = jnp.array([[0.0, 300.0, 600.0, 900.0]])
    visibility = FrameVisibility(
        "causal", choices=((None, 0), (3, 1)), choice=jnp.array([1])
    )
    beside = velocity_beside(latents, visibility, noised, timesteps)
    for turn in range(1, 4):
        sequence = latents.at[:, turn].set(noised[:, turn])[:, : turn + 1]
        alone = Transformer(tiny_run("causal_forcing", options={}).model).apply(
            {"params": tiny_params()},
            sequence,
            jnp.zeros((1, turn + 1)).at[:, turn].set(timesteps[:, turn]),
            tiny_batch(1, 4)["text"],
            visibility=visibility,
        )
        np.testing.assert_allclose(beside[:, turn], alone[:, turn], atol=2e-5)


def test_a_target_beside_its_history_never_sees_its_answer():
    latents = jnp.asarray(tiny_batch(1, 4)["latents"])
    timesteps = jnp.full((1, 4), 500.0)
    causal = FrameVisibility("causal")
    before = velocity_beside(latents, causal, latents, timesteps)
    changed = velocity_beside(latents.at[:, 2].add(1.0), causal, latents, timesteps)
    np.testing.assert_array_equal(before[:, :3], changed[:, :3])
    assert np.abs(before[:, 3] - changed[:, 3]).max() > 1e-3


def test_all_turns_are_targets_when_history_is_beside_them():
    """Also those whose history copy a rollout replaces."""
    _, history, _ = run_steps(
        "causal_forcing", 2,
        dict(history="beside", rollout=dict(kind="one_pass", probability=1.0)),
    )  # fmt: skip
    assert all(metrics["replaced"] > 0 for metrics in history)
    assert all(np.isfinite(metrics["loss"]) for metrics in history)


def test_a_one_pass_rollout_predicts_from_no_more_noise_than_asked():
    """From nearly none the predictions are the truth, and change nothing."""
    params, batch = parent()["params"], tiny_batch(2, 4)

    def errors(**rollout):
        options = dict(history="beside", rollout=rollout)
        run = tiny_run("causal_forcing", options=options)
        state = STAGES["causal_forcing"].init_state(run, parent())
        return causal_forcing.loss_fn(run, params, state, batch)[0]

    straight = errors(kind="none")
    always = dict(kind="one_pass", probability=1.0)
    np.testing.assert_allclose(errors(maximum=1e-3, **always), straight, rtol=1e-5)
    assert np.abs(errors(**always) / straight - 1).max() > 1e-3
    with pytest.raises(UserError, match="rollout.maximum"):
        errors(kind="one_pass", maximum=0.0)


@pytest.mark.parametrize("kind", ["one_pass", "sequential"])
def test_targets_do_not_count_where_the_rollout_took_another_way(kind):
    """An untrained network gets every frame wrong; what follows it is no target."""
    params, batch = parent()["params"], tiny_batch(2, 4)

    def result(agreement):
        rollout = dict(kind=kind, probability=1.0, sampler_steps=1, agreement=agreement)
        options = dict(history="beside", rollout=rollout, loss=dict(edit_weight=0.5))
        run = tiny_run("causal_forcing", options=options)
        state = STAGES["causal_forcing"].init_state(run, parent())
        seen = {}

        def watched(*args, counted, **options):
            seen["counted"] = counted
            return sequence_loss(*args, counted=counted, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(causal_forcing, "sequence_loss", watched)
            return causal_forcing.loss_fn(run, params, state, batch)[0], seen["counted"]

    every, counted = result(0.0)
    assert counted is None
    some, counted = result(0.1)
    assert np.asarray(counted[:, 1]).all()  # the source is what the user gave
    assert not np.asarray(counted[:, 2]).any()  # and frame 1 is rolled out
    assert np.abs(some / every - 1).max() > 1e-3
    same, counted = result(100.0)
    assert np.asarray(counted[:, 1:]).all()
    np.testing.assert_allclose(same, every, rtol=1e-5)
    with pytest.raises(UserError, match="rollout.agreement"):
        result(-1.0)


def test_sequential_rollout_replaces_history():
    """By the sampler that was asked for."""
    losses = []
    for sampler in ("few_step", "euler"):
        rollout = dict(kind="sequential", sampler=sampler, sampler_steps=2)
        options = dict(rollout=rollout, clean_history=0.0)
        _, history, _ = run_steps("causal_forcing", 1, options)
        assert all(metrics["replaced"] > 0 for metrics in history)
        losses.append(history[0]["loss"])
    assert abs(losses[0] / losses[1] - 1) > 1e-4
    with pytest.raises(UserError, match="options.rollout.sampler must be one of few"):
        tiny_run("causal_forcing", options=dict(rollout=dict(sampler="ddim")))


def test_history_views_know_their_target_turn():
    """Frames from the target on are invisible; the policy narrows the rest."""
    run = tiny_run("consistency", options={})
    batch = tiny_batch(2, 4)
    history = distill.History(
        target=jnp.array([1, 3]),
        visibility=FrameVisibility(
            choices=((None, 0), (3, 1)), choice=jnp.array([0, 1])
        ),
        positions=jnp.arange(4, dtype=jnp.float32)[None],
    )
    view = distill.history_view(
        run, tiny_params(), batch["latents"], batch["text"], history
    )
    np.testing.assert_array_equal(view.valid[0], [True, False, False, False])
    np.testing.assert_array_equal(view.valid[1], [True, False, True, False])
    np.testing.assert_array_equal(view.next_position, [1.0, 3.0])


def test_critic_errors_are_weighted_as_asked():
    """x_0 weighting is the velocity's times sigma^2."""
    batch = tiny_batch(2, 3)
    level = jnp.array([400.0, 800.0])
    noise = jax.random.normal(
        jax.random.key(0), batch["latents"].shape[:1] + batch["latents"].shape[2:]
    )

    def errors(weighting):
        run = tiny_run(
            "distribution_matching", options=dict(critic_weighting=weighting)
        )
        return scores.denoising_loss(
            run, tiny_params(), batch, jnp.asarray(batch["latents"]), 2, level, noise
        )

    expected = errors("velocity") * jnp.square(level / 1000.0)
    np.testing.assert_allclose(errors("x0"), expected, rtol=1e-4)
    with pytest.raises(
        UserError, match="critic_weighting must be one of velocity, x0, given 'v'"
    ):
        errors("v")


def test_micro_batches_of_unequal_weight_still_equal_the_whole():
    def loss_fn(params, state, batch):
        return params * batch["x"], batch["w"], {}

    batch = dict(x=jnp.array([1.0, 2.0, 3.0, 4.0]), w=jnp.array([1.0, 0.0, 1.0, 1.0]))
    whole = steps.gradients(loss_fn, jnp.float32(2.0), None, batch, 1)
    parts = steps.gradients(loss_fn, jnp.float32(2.0), None, batch, 2)
    np.testing.assert_allclose(parts[0], whole[0])
    np.testing.assert_allclose(parts[2], 8.0 / 3.0, rtol=1e-6)
