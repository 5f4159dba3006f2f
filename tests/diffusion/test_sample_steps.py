"""Some of a sampler's steps, then the others: what all of them give."""

import functools

import jax
import numpy as np
import pytest

from anchoredit_jax.diffusion.samplers import SamplerConfig, sample, sample_steps


def velocity(x, timestep):
    return 0.3 * x + timestep / 1000


@pytest.mark.parametrize("kind", ["few_step", "euler"])
@pytest.mark.parametrize("bounds", [(0, 4), (0, 1, 2, 3, 4), (0, 3, 4), (0, 0, 4)])
def test_steps_in_pieces_are_the_whole(kind, bounds):
    config = SamplerConfig(kind, steps=4, shift=3.0)
    noise = np.random.default_rng(0).normal(size=(config.draws, 2, 3, 3, 1))
    noise = np.float32(noise)
    steps = jax.jit(functools.partial(sample_steps, velocity, config=config))
    x = jax.device_put(noise[0])
    for first, last in zip(bounds[:-1], bounds[1:], strict=True):
        x = steps(x, noise, np.int32(first), np.int32(last))
    assert steps._cache_size() == 1
    whole, _ = sample(velocity, noise, config)
    np.testing.assert_allclose(x, whole, rtol=1e-6, atol=1e-6)
    in_one = steps(noise[0], noise, np.int32(0), np.int32(4))
    np.testing.assert_array_equal(x, in_one)


def test_steps_that_are_left_out_matter():
    config = SamplerConfig(steps=4)
    noise = np.float32(np.random.default_rng(0).normal(size=(4, 1, 3)))
    three = sample_steps(velocity, noise[0], noise, np.int32(0), np.int32(3), config)
    assert not np.allclose(three, sample(velocity, noise, config)[0])
