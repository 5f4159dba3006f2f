"""Every stage remembers the norms of the gradients of what it trains."""

import jax
import jax.numpy as jnp
import pytest

from anchoredit_jax.stages.spikes import WINDOW, with_norms
from anchoredit_jax.stages.step import random_params
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_run
from anchoredit_jax.testing.tiny import TEXT_TOKENS


@pytest.mark.parametrize(
    ("stage", "networks", "metrics"),
    [
        ("single_turn", {"params"}, {"spike"}),
        pytest.param(
            "distribution_matching",
            {"params", "critic"},
            {"spike", "generator_spike"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_step_keeps_norms_of_every_network_it_trains(stage, networks, metrics):
    """Traced, not compiled: the same structure comes out that goes in."""
    settings = {"kind": "few_step", "guidance": 1.0, "steps": 1}
    sampler = settings if stage == "distribution_matching" else {}
    run = tiny_run(
        stage, sampler=sampler, loop={"spike_factor": 5.0, "skip_spikes": True}
    )
    params = jax.eval_shape(
        lambda key: random_params(run.model, key, TEXT_TOKENS), jax.random.key(0)
    )
    state = jax.eval_shape(
        lambda trees: with_norms(STAGES[stage].init_state(run, trees), run.loop),
        {"params": params, "ema": params},
    )
    assert state.norms.keys() == networks
    assert state.norms["params"].shape == (WINDOW,)
    step = STAGES[stage].make_train_step(run).step
    after, told = jax.eval_shape(step, state, tiny_batch(frames=2))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {leaf.dtype for leaf in after.norms.values()} == {jnp.dtype("float32")}
    assert {name for name in told if name.endswith("spike")} == metrics


def test_without_a_factor_the_state_is_as_it_was():
    run = tiny_run("single_turn")
    state = object()
    assert with_norms(state, run.loop) is state
