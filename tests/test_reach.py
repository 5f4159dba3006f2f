"""Which committed frames can reach an output, on a network of two layers."""

import functools

import jax
import numpy as np
import pytest

from anchoredit_jax import memory as memories
from anchoredit_jax import turn
from anchoredit_jax.diffusion import SamplerConfig
from anchoredit_jax.memory import FrameVisibility, MemoryConfig
from anchoredit_jax.models import Transformer
from anchoredit_jax.testing import tiny_batch, tiny_model, tiny_params

TURN = 12
SAMPLER = SamplerConfig("euler", steps=2)


@functools.lru_cache
def commit_step(layers):
    model = tiny_model(num_layers=layers)
    params, null = tiny_params(model), np.zeros((4, 8), np.float32)

    @jax.jit
    def start(source, text):
        config = MemoryConfig(1, 3, "window_relative")
        return turn.start_memory(model, params, source, text, null, config, SAMPLER)

    @jax.jit
    def commit(memory, frame, text):
        return turn.commit_frame(model, params, memory, frame, text, null, SAMPLER)

    @jax.jit
    def velocity(memory, x, text):
        beside = turn.beside_memory(model, params, memories.view(memory), text)
        return beside(x, np.full(x.shape[:1], 500.0, np.float32))

    return start, commit, velocity


def output_at_turn_12(layers, changed=None):
    """Velocity beside a memory of frames 0..11, one of them changed when committed."""
    start, commit, velocity = commit_step(layers)
    batch = tiny_batch(1, TURN + 1)
    latents, text = batch["latents"].copy(), batch["text"]
    if changed is not None:
        latents[:, changed] += 1.0
    memory = start(latents[:, 0], text[:, 0])
    for index in range(1, TURN):
        memory = commit(memory, latents[:, index], text[:, index - 1])
    return np.asarray(velocity(memory, latents[:, TURN], text[:, TURN - 1]))


@pytest.mark.parametrize(
    ("layers", "reached"),
    [
        (1, {0, 9, 10, 11}),  # the sink and the window
        (2, {0, 6, 7, 8, 9, 10, 11}),  # and what the window's frames saw
    ],
)
def test_a_frame_reaches_as_far_as_layers_times_the_window(layers, reached):
    """All committed latents are fixed but one; unreached means bit-identical."""
    base = output_at_turn_12(layers)
    for changed in range(TURN):
        difference = np.abs(output_at_turn_12(layers, changed) - base).max()
        if changed in reached:
            assert difference > 1e-5, changed
        else:
            assert difference == 0.0, changed


def test_in_a_causal_sequence_nothing_reaches_back():
    model, batch = tiny_model(), tiny_batch(1, 6)
    apply = jax.jit(
        functools.partial(
            Transformer(model).apply, visibility=FrameVisibility("causal")
        )
    )
    timesteps = np.full((1, 6), 300.0, np.float32)
    params = {"params": tiny_params()}
    before = apply(params, batch["latents"], timesteps, batch["text"])
    # A new array: the first call may still be reading the old one.
    latents = batch["latents"].copy()
    latents[:, 3] += 1.0
    after = apply(params, latents, timesteps, batch["text"])
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    for frame in range(3, 6):
        assert np.abs(before[:, frame] - after[:, frame]).max() > 1e-4
