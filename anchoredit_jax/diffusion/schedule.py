"""Flow matching: one function from (steps, shift) to sigmas, and the conversions.

x_t = (1 - sigma) x_0 + sigma noise, velocity v = noise - x_0, timestep = 1000 sigma
(design 3.1). Everything here is float32 and stateless.
"""

import jax
import jax.numpy as jnp
import numpy as np

TIMESTEPS = 1000.0


def shift_sigma(sigma, shift: float):
    """sigma -> s sigma / (1 + (s - 1) sigma): spends more steps at high noise."""
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def make_sigmas(steps: int, shift: float) -> np.ndarray:
    """`steps` sigmas from 1 (inclusive) to 0 (exclusive), shifted; float32 [steps]."""
    return shift_sigma(np.linspace(1.0, 0.0, steps + 1)[:-1], shift).astype(np.float32)


def snap_sigma(timestep: jax.Array, sigmas: np.ndarray) -> jax.Array:
    """The sigma of the grid point nearest to `timestep` (first one on a tie).

    The reference looks every sigma up like this, so a timestep of 0 becomes the grid's
    last sigma; we use it for parity only and `timestep / 1000` elsewhere.
    """
    grid = jnp.asarray(sigmas, jnp.float32)
    points = (grid * TIMESTEPS).reshape((1,) * jnp.ndim(timestep) + (-1,))
    distance = jnp.abs(points - jnp.asarray(timestep, jnp.float32)[..., None])
    return grid[jnp.argmin(distance, axis=-1)]


def sigma_at(timestep: jax.Array, snap_shift: float | None = None) -> jax.Array:
    """The sigma of a timestep: timestep / 1000, exactly.

    Args:
      snap_shift: look it up on the 1000-point grid of this shift instead, as the
        reference does (for parity).
    """
    if snap_shift is None:
        return jnp.asarray(timestep, jnp.float32) / TIMESTEPS
    return snap_sigma(timestep, make_sigmas(1000, snap_shift))


def bell_weight(timestep: jax.Array, shift: float = 1.0) -> jax.Array:
    """The reference scheduler's training weight: most in the middle of the noise.

    exp(-2 ((t - 500) / 1000)^2) less its smallest value on the 1000-point grid of this
    shift, scaled to a mean of 1 there.
    """
    grid = _bell(make_sigmas(1000, shift).astype(np.float64) * TIMESTEPS, np)
    mean, least = np.mean(grid - grid.min()), grid.min()
    bell = _bell(jnp.asarray(timestep, jnp.float32), jnp)
    return (bell - np.float32(least)) / np.float32(mean)


def _bell(timestep, numpy):
    return numpy.exp(-2.0 * ((timestep - TIMESTEPS / 2) / TIMESTEPS) ** 2)


def match(sigma: jax.Array, like: jax.Array) -> jax.Array:
    """sigma [B] or [B, T] with trailing axes of size 1, to multiply `like`."""
    return sigma.reshape(sigma.shape + (1,) * (like.ndim - sigma.ndim))


def add_noise(x0: jax.Array, noise: jax.Array, sigma: jax.Array) -> jax.Array:
    """(1 - sigma) x_0 + sigma noise; sigma [B] or [B, T]."""
    sigma = match(sigma, x0)
    return (1.0 - sigma) * x0 + sigma * noise


def velocity_to_x0(xt: jax.Array, velocity: jax.Array, sigma: jax.Array) -> jax.Array:
    """x_0 = x_t - sigma v."""
    return xt - match(sigma, xt) * velocity


def x0_to_velocity(xt: jax.Array, x0: jax.Array, sigma: jax.Array) -> jax.Array:
    """v = (x_t - x_0) / sigma; sigma must not be 0."""
    return (xt - x0) / match(sigma, xt)


def euler_step(
    xt: jax.Array, velocity: jax.Array, sigma: jax.Array, sigma_next: jax.Array
) -> jax.Array:
    """x + v (sigma_next - sigma), per element of sigma."""
    return xt + velocity * match(sigma_next - sigma, xt)
