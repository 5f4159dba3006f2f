"""Bidirectional attention and teacher forcing as options of stages 1 and 2."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer
from anchoredit_jax.stages.attention import teacher_forced
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run

NOISED = dict(single_turn="clean_source", causal_forcing="clean_history")


def errors_of(stage, batch, **options):
    """With all frames noised, also those that are seen."""
    run = tiny_run(stage, options={NOISED[stage]: 0.0, **options})
    params = jax.tree.map(jnp.asarray, tiny_params())
    state = STAGES[stage].init_state(run, dict(ema=params))
    loss = functools.partial(STAGES[stage].loss_fn, run)
    return np.asarray(jax.jit(loss)(params, state, batch)[0])


@pytest.mark.parametrize(
    ("stage", "frames"), [("single_turn", 2), ("causal_forcing", 4)]
)
def test_each_attention_is_another_loss(stage, frames):
    batch = tiny_batch(2, frames)
    found = [
        errors_of(stage, batch, attention=attention)
        for attention in ("causal", "bidirectional", "teacher_forcing")
    ]
    assert all(np.isfinite(errors).all() for errors in found)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(found[one] / found[other] - 1).max() > 1e-4


def test_bidirectional_frames_see_later_ones():
    """The last frame is no target here: only what others see of it may matter."""
    batch = tiny_batch(1, 4)
    batch["frame_valid"][0, 3] = 0.0
    changed = dict(batch, latents=batch["latents"].copy())
    changed["latents"][0, 3] += 1.0
    for attention, same in (("causal", True), ("bidirectional", False)):
        one, other = (
            errors_of("causal_forcing", x, attention=attention)
            for x in (batch, changed)
        )
        assert bool(np.allclose(one, other, rtol=1e-6)) == same


def velocities(history, noised, timesteps, positions):
    model = tiny_run("causal_forcing").model
    network = functools.partial(Transformer(model).apply, text=tiny_batch(1, 4)["text"])
    velocity = teacher_forced(network, history, positions)
    return velocity({"params": tiny_params()}, noised, timesteps)


def test_teacher_forcing_is_the_networks_own_over_both_halves():
    latents = jnp.asarray(tiny_batch(1, 4)["latents"])
    noised = latents + jax.random.normal(jax.random.key(0), latents.shape)
    timesteps = jnp.array([[100.0, 300.0, 600.0, 900.0]])
    positions = jnp.arange(4, dtype=jnp.float32)[None]
    found = velocities(latents, noised, timesteps, positions)
    whole = Transformer(tiny_run("causal_forcing").model).apply(
        {"params": tiny_params()},
        jnp.concatenate([latents, noised], 1),
        jnp.concatenate([jnp.zeros((1, 4)), timesteps], 1),
        tiny_batch(1, 4)["text"],
        visibility=FrameVisibility("teacher_forcing"),
    )
    np.testing.assert_allclose(found, whole[:, 4:], atol=1e-6)
    # A target sees clean frames before it, and neither its answer nor other targets.
    for change, unchanged in ((2, [0, 1, 2]), (0, [])):
        moved = velocities(latents.at[:, change].add(1.0), noised, timesteps, positions)
        same = [i for i in range(4) if np.allclose(moved[:, i], found[:, i], atol=1e-6)]
        assert same == unchanged
    other = velocities(latents, noised.at[:, 1].add(1.0), timesteps, positions)
    same = [i for i in range(4) if np.allclose(other[:, i], found[:, i], atol=1e-6)]
    assert same == [0, 2, 3]


def test_what_an_attention_does_not_read_is_refused():
    for options, said in (
        (dict(attention="both"), "options.attention must be .*given 'both'"),
        (dict(attention="bidirectional", history="beside"), "options.history is read"),
        (
            dict(attention="teacher_forcing", memory_policies=((1, 2),)),
            "options.memory_policies is read",
        ),
    ):
        with pytest.raises(UserError, match=said):
            tiny_run("causal_forcing", options=options)
    with pytest.raises(UserError, match=r"one edit a sequence.*data\.turns=1"):
        errors_of("single_turn", tiny_batch(1, 3), attention="bidirectional")


def test_teacher_forced_turns_stay_targets_when_they_are_rolled_out():
    batch = tiny_batch(2, 4)
    rollout = dict(kind="one_pass", probability=1.0)
    run = tiny_run(
        "causal_forcing", options=dict(attention="teacher_forcing", rollout=rollout)
    )
    params = jax.tree.map(jnp.asarray, tiny_params())
    state = STAGES["causal_forcing"].init_state(run, dict(ema=params))
    seen = {}

    def loss(latents):
        errors, _, metrics = STAGES["causal_forcing"].loss_fn(
            run, params, state, dict(batch, latents=latents)
        )
        seen.update(metrics)
        return errors.sum()

    gradient = jax.grad(loss)(jnp.asarray(batch["latents"]))
    # Frame 1 is replaced in all histories: that it matters at all, it does as a target.
    assert float(jnp.abs(gradient[:, 1]).max()) > 1e-3 and seen["replaced"] is not None
