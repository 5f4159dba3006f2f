"""The one schedule function and its conversions, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.diffusion import schedule
from anchoredit_jax.diffusion.samplers import SamplerConfig, guide, sample
from anchoredit_jax.errors import UserError


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_sigmas(shift):
    steps = 10
    line = 1.0 - np.arange(steps) / steps
    expected = shift * line / (1 + (shift - 1) * line)
    np.testing.assert_allclose(schedule.make_sigmas(steps, shift), expected, rtol=1e-6)


def test_sampling_and_training_share_the_table():
    np.testing.assert_array_equal(
        SamplerConfig("euler", 7, 3.0).schedule[1], schedule.make_sigmas(7, 3.0)
    )


def test_conversions_are_inverse():
    rng = np.random.default_rng(0)
    x0, noise = (
        jnp.asarray(rng.normal(size=(2, 3, 4, 4, 1)), jnp.float32) for _ in "xn"
    )
    sigma = jnp.array([[0.1, 0.5, 1.0], [0.9, 0.3, 0.7]])
    xt = schedule.add_noise(x0, noise, sigma)
    velocity = noise - x0
    np.testing.assert_allclose(
        schedule.velocity_to_x0(xt, velocity, sigma), x0, atol=1e-6
    )
    np.testing.assert_allclose(
        schedule.x0_to_velocity(xt, x0, sigma), velocity, atol=1e-5
    )


def test_steps_are_per_element():
    """One element at its last step must not finish the others."""
    x, v = jnp.ones((2, 3)), jnp.ones((2, 3))
    out = schedule.euler_step(x, v, jnp.array([0.5, 0.5]), jnp.array([0.0, 0.25]))
    np.testing.assert_allclose(out[:, 0], [0.5, 0.75])


def test_snapping_takes_the_first_of_equal_neighbours():
    sigmas = np.array([1.0, 0.5, 0.25], np.float32)
    np.testing.assert_allclose(
        schedule.snap_sigma(jnp.array([750.0, 0.0]), sigmas), [1.0, 0.25]
    )


@pytest.mark.parametrize("kind", ["few_step", "euler"])
def test_samplers_recover_a_known_image(kind):
    """With the exact velocity of a single image every sampler lands on it."""
    image = jnp.linspace(-1, 1, 8).reshape(1, 2, 4)
    rng = np.random.default_rng(0)
    noise = jnp.asarray(rng.normal(size=(4, 1, 2, 4)), jnp.float32)

    def velocity(x, timestep):
        return (x - image) / (timestep / 1000.0)

    got, _ = sample(velocity, noise, SamplerConfig(kind, 4, 3.0))
    np.testing.assert_allclose(got, image, atol=1e-5)


def test_few_step_renoises_with_each_draw_once():
    """x_0 is held at 0, so the input of step i is sigma_i times noise i."""
    seen = []
    noise = jnp.arange(1.0, 4.0).reshape(3, 1, 1)

    def velocity(x, timestep):
        seen.append((x, timestep))
        return x / (timestep / 1000.0)

    config = SamplerConfig("few_step", timesteps=(1000.0, 500.0, 250.0))

    with jax.disable_jit():
        sample(velocity, noise, config)
    inputs = [float(x[0, 0]) for x, _ in seen]
    np.testing.assert_allclose(inputs, [1.0, 2.0 * 0.5, 3.0 * 0.25])


def test_guidance_has_one_convention():
    assert float(guide(jnp.float32(3.0), jnp.float32(1.0), 1.0)) == 3.0
    assert float(guide(jnp.float32(3.0), jnp.float32(1.0), 2.0)) == 5.0


@pytest.mark.parametrize("bad", [dict(kind="ddim"), dict(steps=0), dict(shift=0.0)])
def test_bad_samplers_are_refused(bad):
    with pytest.raises(UserError, match="sampler"):
        SamplerConfig(**bad)
