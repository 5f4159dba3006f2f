"""Frames that are no target: history as it is, whatever training does to history."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.stages import causal_forcing
from anchoredit_jax.stages.rollout import generate_history
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run


def batch_with_a_known_frame():
    batch = tiny_batch(2, 4)
    batch["frame_valid"][:, 1] = [0.0, 1.0]
    return batch


def test_a_generated_history_keeps_them():
    run, batch = tiny_run("causal_forcing"), batch_with_a_known_frame()
    params, sampler = tiny_params(), SamplerConfig(steps=1)
    noise = np.random.default_rng(0).normal(size=(4, 1, *batch["latents"][:, 0].shape))
    sequence, _ = jax.jit(
        lambda: generate_history(
            run, params, batch, sampler, jnp.int32(2), jnp.float32(noise)
        )
    )()
    same = [[bool((a == b).all()) for a, b in zip(x, y, strict=True)]
            for x, y in zip(sequence, batch["latents"], strict=True)]  # fmt: skip
    assert same == [[True, True, False, False], [True, False, False, False]]


@pytest.mark.parametrize("kind", ["one_pass", "sequential"])
def test_self_rollout_keeps_them(kind):
    options = dict(rollout=dict(kind=kind, probability=1.0, sampler_steps=1))
    run = tiny_run("causal_forcing", options=options)
    params = jax.tree.map(jnp.asarray, tiny_params())
    state = STAGES["causal_forcing"].init_state(run, {"ema": params})
    loss = jax.jit(functools.partial(causal_forcing.loss_fn, run))
    # With a sequential rollout, step 0 draws how many turns are rolled out.
    replaced = [
        float(loss(params, state, batch)[2]["replaced"])
        for batch in (tiny_batch(2, 4), batch_with_a_known_frame())
    ]
    assert replaced[0] > 0
    assert replaced[1] == pytest.approx(replaced[0] - 1 / 8)


def test_in_one_sequence_they_are_clean():
    """All others are pure noise here, and show nothing of what they were."""
    levels = dict(minimum=1000.0, maximum=1000.0)
    options = dict(clean_history=0.0, timesteps=levels)
    run = tiny_run("causal_forcing", options=options)
    params = jax.tree.map(jnp.asarray, tiny_params())
    state = STAGES["causal_forcing"].init_state(run, {"ema": params})
    batch = batch_with_a_known_frame()
    changed = dict(batch, latents=batch["latents"].copy())
    changed["latents"][:, 1] += 1.0
    loss = jax.jit(functools.partial(causal_forcing.loss_fn, run))
    before, after = (np.asarray(loss(params, state, b)[0]) for b in (batch, changed))
    assert abs(after[0] - before[0]) > 1e-4 * before[0]
