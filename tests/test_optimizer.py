"""Schedules in loop steps, the critic's own settings, the average with its warm-up."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.optimizer import (
    CriticConfig,
    OptimizerConfig,
    make_optimizer,
    make_schedule,
)
from anchoredit_jax.stages import distribution_matching
from anchoredit_jax.stages import step as steps
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run

PEAK = 1e-3


def rates(config, updates, every=1):
    """Learning rates of successive updates: with one constant gradient, and no memory,
    AdamW moves a parameter by just these."""
    config = dataclasses.replace(config, b1=0.0, b2=0.0, clip=0.0)
    optimizer = make_optimizer(config, every)

    def one(carry, _):
        params, state = carry
        updates, state = optimizer.update(jnp.ones(()), state, params)
        return (optax.apply_updates(params, updates), state), -updates

    with jax.numpy_dtype_promotion("standard"):
        start = (jnp.zeros(()), optimizer.init(jnp.zeros(())))
        return np.asarray(jax.lax.scan(one, start, length=updates)[1])


def test_a_schedule_counts_loop_steps_also_where_few_of_them_update():
    config = OptimizerConfig(learning_rate=PEAK, steps=100, warmup=20, final=0.05)
    every_step = rates(config, 100)
    np.testing.assert_allclose(every_step[20], PEAK, rtol=1e-5)
    np.testing.assert_allclose(every_step[10], PEAK * (1 / 20 + 19 / 20 / 2), rtol=1e-5)
    middle = PEAK * (0.05 + 0.95 / 2)  # of a cosine from step 20 to 100
    np.testing.assert_allclose(every_step[60], middle, rtol=1e-4)
    assert every_step[99] < 0.06 * PEAK
    every_fifth = rates(config, 20, every=5)
    np.testing.assert_allclose(every_fifth, every_step[::5], rtol=1e-5)


def critic_run(critic=None, **optimizer):
    options = dict(critic_ratio=5, critic=critic or {})
    return tiny_run(
        "distribution_matching", options=options, optimizer=optimizer,
        sampler=dict(steps=1),
    )  # fmt: skip


def test_generator_and_critic_follow_their_schedules_in_loop_steps():
    """What the step's two updates are at given loop steps, by their own schedules."""
    run = critic_run(
        dict(learning_rate=3e-3, warmup=4, b1=0.0, b2=0.0, clip=0.0, eps=0.0),
        learning_rate=1e-3, steps=20, warmup=10, b1=0.0, b2=0.0, clip=0.0, eps=0.0,
    )  # fmt: skip
    params = jax.tree.map(jnp.asarray, tiny_params())
    module = STAGES[run.stage]
    state = module.init_state(run, dict(ema=params, teacher=params))
    step = module.make_train_step(run)
    generator, critic = (
        make_schedule(run.optimizer),
        make_schedule(distribution_matching.critic_optimizer(run)),
    )

    def largest(after, before):
        return max(
            float(np.abs(np.asarray(a) - b).max())
            for a, b in zip(*map(jax.tree.leaves, (after, before)), strict=True)
        )

    for index in range(12):
        before = jax.device_get((state.params, state.critic))
        state, _ = step(state, tiny_batch(2, 2, seed=index))
        # Without memory every entry moves by the learning rate, whatever its gradient.
        moved = largest(state.params, before[0])
        expected = float(generator(index)) if index % 5 == 0 else 0.0
        assert moved == pytest.approx(expected, rel=1e-2), index
        moved = largest(state.critic, before[1])
        assert moved == pytest.approx(float(critic(index)), rel=1e-2), index
    assert float(critic(4)) == float(critic(11)) == pytest.approx(3e-3)
    assert float(generator(10)) == pytest.approx(1e-3)


def test_the_critic_has_settings_of_its_own():
    run = critic_run(learning_rate=2e-6, b1=0.0, clip=0.5, steps=70)
    full = distribution_matching.critic_optimizer(run)
    assert full.learning_rate == pytest.approx(1e-5)  # the reference's 5e-6 to 1e-6
    assert (full.b1, full.clip, full.schedule, full.steps) == (0.9, 1.0, "constant", 70)
    own = dict(
        learning_rate=7e-6, schedule="cosine", warmup=3, final=0.5, b1=0.1, b2=0.5,
        eps=1e-6, weight_decay=0.1, clip=0.0, mu_dtype="bfloat16",
    )  # fmt: skip
    full = distribution_matching.critic_optimizer(critic_run(own, steps=70))
    assert {name: getattr(full, name) for name in own} == own
    assert set(own) == {field.name for field in dataclasses.fields(CriticConfig)}
    run = critic_run(dict(mu_dtype="bfloat16"))
    params = jax.tree.map(jnp.asarray, tiny_params())
    state = STAGES[run.stage].init_state(run, dict(ema=params, teacher=params))
    moments = [state.opt_state[1][0].mu, state.critic_opt_state[1][0].mu]
    found = [{x.dtype.name for x in jax.tree.leaves(tree)} for tree in moments]
    assert found == [{"float32"}, {"bfloat16"}]
    for wrong in (dict(schedule="linear"), dict(mu_dtype="int8")):
        with pytest.raises(UserError, match=r"options\.critic\."):
            critic_run(wrong)


def test_defaults_are_the_references_betas():
    assert (OptimizerConfig().b1, OptimizerConfig().b2) == (0.9, 0.999)
    assert (CriticConfig().b1, CriticConfig().b2) == (0.9, 0.999)


@pytest.mark.parametrize(
    ("warmup", "updates", "decay"),
    [
        (True, 0, 0.1),
        (True, 891, 0.99),
        (True, 3000, 3001 / 3010),
        (True, 9000, 0.999),
        (False, 0, 0.999),
        (False, 3000, 0.999),
    ],
)
def test_an_average_reaches_its_decay_with_or_without_a_warm_up(warmup, updates, decay):
    config = OptimizerConfig(ema=0.999, ema_warmup=warmup)
    after = steps.update_ema(
        jnp.float32(1.0), jnp.float32(0.0), jnp.int32(updates), config
    )
    assert float(after) == pytest.approx(decay, rel=1e-3)


@pytest.mark.parametrize("warmup", [True, False])
def test_the_step_averages_as_asked(warmup):
    run = tiny_run(
        "single_turn", optimizer=dict(ema=0.9, ema_warmup=warmup, learning_rate=1e-2)
    )
    params = jax.tree.map(jnp.asarray, tiny_params())
    state = STAGES["single_turn"].init_state(run, dict(ema=params))
    state, _ = STAGES["single_turn"].make_train_step(run)(state, tiny_batch(2, 2))
    decay = 0.1 if warmup else 0.9
    for start, now, average in zip(
        *map(jax.tree.leaves, (tiny_params(), state.params, state.ema)), strict=True
    ):
        np.testing.assert_allclose(
            average, decay * start + (1 - decay) * now, atol=1e-6
        )
