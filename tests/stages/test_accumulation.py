"""Micro-batches: the same gradients, and counters that count updates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.stages import distribution_matching
from anchoredit_jax.stages import step as steps
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run

LOSSES = {
    "single_turn": STAGES["single_turn"].loss_fn,
    "causal_forcing": STAGES["causal_forcing"].loss_fn,
    "consistency": STAGES["consistency"].loss_fn,
    "generator": distribution_matching.generator_loss,
    "critic": distribution_matching.critic_loss,
}


def prepared(stage, **optimizer):
    run = tiny_run(stage, optimizer=optimizer, sampler=dict(steps=1))
    params = jax.tree.map(jnp.asarray, tiny_params())
    state = STAGES[stage].init_state(run, dict(ema=params, teacher=params))
    return run, state


@pytest.mark.parametrize(
    "loss",
    [
        "single_turn",
        "causal_forcing",
        pytest.param("consistency", marks=pytest.mark.slow),
        pytest.param("generator", marks=pytest.mark.slow),
        "critic",
    ],
)
def test_four_micro_batches_of_one_equal_a_batch_of_four(loss):
    """Row 3 of the user reports: with the same noise, in float32, to 1e-6."""
    stage = loss if loss in STAGES else "distribution_matching"
    run, state = prepared(stage)
    params = state.critic if loss == "critic" else state.params
    batch = tiny_batch(4, 3)
    batch["frame_valid"][2, 2] = 0.0  # samples weigh differently

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(count):
        loss_fn = functools.partial(LOSSES[loss], run)
        return steps.gradients(loss_fn, params, state, batch, count)[::2]

    (whole, wanted), (summed, found) = gradients(1), gradients(4)
    np.testing.assert_allclose(summed, whole, rtol=1e-6)
    for ours, theirs in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        largest = max(1.0, float(jnp.abs(theirs).max()))
        np.testing.assert_allclose(ours / largest, theirs / largest, atol=1e-6)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(wanted)) > 1e-3


def test_the_ratio_counts_updates_and_not_micro_batches():
    """Row 3 of the user reports: 5 to 1 over 20 updates, in micro-batches of one."""
    run, state = prepared("distribution_matching", accumulate=2)
    step = STAGES[run.stage].make_train_step(run)
    due = []
    for index in range(20):
        state, metrics = step(state, tiny_batch(2, 2, seed=index))
        due.append(bool(np.isfinite(metrics["generator_loss"])))
    assert due == [index % 5 == 0 for index in range(20)]
    counts = [
        {int(x) for x in jax.tree.leaves(opt) if x.dtype == jnp.int32 and x.ndim == 0}
        for opt in (state.opt_state, state.critic_opt_state)
    ]
    assert counts == [{4}, {20}]
    assert int(state.step) == 20
