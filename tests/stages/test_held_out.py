"""The held-out error is that of predicting each frame as editing would."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax import memory as memories
from anchoredit_jax import randomness, turn
from anchoredit_jax.diffusion import schedule
from anchoredit_jax.diffusion.samplers import SamplerConfig, noise_intervals
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.stages.held_out import errors_by_noise
from anchoredit_jax.testing import tiny_batch, tiny_model, tiny_params

MODEL = tiny_model()
UNGUIDED = SamplerConfig()


def frame_by_frame(memory, batch, interval):
    """Errors [B, N]: each frame beside a memory that the true ones were written to."""
    params, latents, text = tiny_params(), batch["latents"], batch["text"]
    count, frames = latents.shape[:2]
    root = randomness.stage_key(0, "held out")

    def keys(purpose):
        return randomness.sample_keys(root, 0, batch["id"], purpose)

    noise = randomness.normals(keys(Purpose.NOISE), latents.shape[1:])
    places = randomness.uniforms(keys(Purpose.TIMESTEPS), (frames,))
    state = turn.start_memory(
        MODEL, params, latents[:, 0], text[:, 0], batch["null_text"][0], memory,
        UNGUIDED, frames,
    )  # fmt: skip
    errors = np.zeros((count, frames - 1))
    for k in range(1, frames):
        timesteps = interval[0] + places[:, k] * (interval[1] - interval[0])
        sigmas = timesteps / schedule.TIMESTEPS
        noised = schedule.add_noise(latents[:, k], noise[:, k], sigmas)
        velocity = turn.beside_memory(
            MODEL, params, memories.view(state), text[:, k - 1]
        )
        x0 = schedule.velocity_to_x0(noised, velocity(noised, timesteps), sigmas)
        errors[:, k - 1] = np.square(x0 - latents[:, k]).mean((1, 2, 3))
        state = turn.commit_frame(
            MODEL, params, state, latents[:, k], text[:, k - 1],
            batch["null_text"][0], UNGUIDED,
        )  # fmt: skip
    return errors


@pytest.mark.parametrize(
    ("sink", "window"), [(1, 2), pytest.param(0, None, marks=pytest.mark.slow)]
)
def test_errors_are_those_of_frames_beside_a_memory(sink, window):
    memory = MemoryConfig(sink=sink, window=window, positions="absolute")
    batch = tiny_batch(frames=5)
    batch["frame_valid"][1, 3:] = 0  # a session of two turns
    intervals = np.array([[900.0, 1000.0], [0.0, 500.0]], np.float32)
    sums, counts = jax.jit(lambda *given: errors_by_noise(MODEL, memory, *given))(
        tiny_params(), batch, jnp.asarray(intervals)
    )
    assert counts.tolist() == [2, 2, 1, 1]
    for found, interval in zip(np.asarray(sums), intervals, strict=True):
        errors = frame_by_frame(memory, batch, interval)
        wanted = (errors * batch["frame_valid"][:, 1:]).sum(0)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_intervals_reach_from_pure_noise_to_none():
    few = SamplerConfig(steps=4, shift=3.0)
    assert noise_intervals(few) == ((900, 1000), (750, 900), (500, 750), (0, 500))
    many = SamplerConfig("euler", steps=50, shift=3.0)
    assert noise_intervals(many) == noise_intervals(few)
    told = SamplerConfig(timesteps=(1000.0, 400.0))
    assert noise_intervals(told) == ((400, 1000), (0, 400))
