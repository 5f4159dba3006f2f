"""Flow matching: one function from (steps, shift) to sigmas, and the conversions.

x_t = (1 - sigma) x_0 + sigma noise, velocity v = noise - x_0, timestep = 1000 sigma
(docs/method.md, Flow matching). Everything here is float32 and stateless.
"""

from types import ModuleType
from typing import TypeVar

import jax.numpy as jnp
import numpy as np

from anchoredit_jax.arrays import Array, Float, Real

Sigma = TypeVar("Sigma", float, np.ndarray, Array)

TIMESTEPS = 1000.0
Timestep = Real[Array, "..."] | np.ndarray | float


def shift_sigma(sigma: Sigma, shift: float) -> Sigma:
    """sigma -> s sigma / (1 + (s - 1) sigma): spends more steps at high noise."""
    return shift * sigma / (1.0 + (shift - 1.0) * sigma)


def make_sigmas(steps: int, shift: float) -> Float[np.ndarray, " {steps}"]:
    """`steps` sigmas from 1 (inclusive) to 0 (exclusive), shifted, in float32."""
    return shift_sigma(np.linspace(1.0, 0.0, steps + 1)[:-1], shift).astype(np.float32)


def snap_sigma(
    timestep: Timestep, sigmas: Float[np.ndarray, " steps"]
) -> Float[Array, "..."]:
    """The sigma of the grid point nearest to `timestep` (first one on a tie).

    The reference looks every sigma up like this, so a timestep of 0 becomes the grid's
    last sigma; we use it for parity only and `timestep / 1000` elsewhere.
    """
    grid = jnp.asarray(sigmas, jnp.float32)
    points = (grid * TIMESTEPS).reshape((1,) * jnp.ndim(timestep) + (-1,))
    distance = jnp.abs(points - jnp.asarray(timestep, jnp.float32)[..., None])
    return grid[jnp.argmin(distance, axis=-1)]


def sigma_at(
    timestep: Timestep, snap_shift: float | None = None
) -> Float[Array, "..."]:
    """The sigma of a timestep: timestep / 1000, exactly.

    Args:
      snap_shift: look it up on the 1000-point grid of this shift instead, as the
        reference does (for parity).
    """
    if snap_shift is None:
        return jnp.asarray(timestep, jnp.float32) / TIMESTEPS
    return snap_sigma(timestep, make_sigmas(1000, snap_shift))


def bell_weight(timestep: Timestep, shift: float = 1.0) -> Float[Array, "..."]:
    """The reference scheduler's training weight: most in the middle of the noise.

    exp(-2 ((t - 500) / 1000)^2) less its smallest value on the 1000-point grid of this
    shift, scaled to a mean of 1 there.
    """
    grid = _bell(make_sigmas(1000, shift).astype(np.float64) * TIMESTEPS, np)
    mean, least = np.mean(grid - grid.min()), grid.min()
    bell = _bell(jnp.asarray(timestep, jnp.float32), jnp)
    return (bell - np.float32(least)) / np.float32(mean)


def _bell(
    timestep: Real[Array, "*B"] | np.ndarray, numpy: ModuleType
) -> Float[Array, "*B"]:
    return numpy.exp(-2.0 * ((timestep - TIMESTEPS / 2) / TIMESTEPS) ** 2)


def match(sigma: Float[Array, "*B"], like: Float[Array, "..."]) -> Float[Array, "..."]:
    """sigma [B] or [B, T] with trailing axes of size 1, to multiply `like`."""
    return sigma.reshape(sigma.shape + (1,) * (like.ndim - sigma.ndim))


def add_noise(
    x0: Float[Array, "*shape"],
    noise: Float[Array, "*shape"],
    sigma: Float[Array, "*B"],
) -> Float[Array, "*shape"]:
    """(1 - sigma) x_0 + sigma noise; sigma [B] or [B, T]."""
    sigma = match(sigma, x0)
    return (1.0 - sigma) * x0 + sigma * noise


def velocity_to_x0(
    xt: Float[Array, "*shape"],
    velocity: Float[Array, "*shape"],
    sigma: Float[Array, "*B"],
) -> Float[Array, "*shape"]:
    """x_0 = x_t - sigma v."""
    return xt - match(sigma, xt) * velocity


def x0_to_velocity(
    xt: Float[Array, "*shape"], x0: Float[Array, "*shape"], sigma: Float[Array, "*B"]
) -> Float[Array, "*shape"]:
    """v = (x_t - x_0) / sigma; sigma must not be 0."""
    return (xt - x0) / match(sigma, xt)


def euler_step(
    xt: Float[Array, "*shape"],
    velocity: Float[Array, "*shape"],
    sigma: Float[Array, "*B"],
    sigma_next: Float[Array, "*B"],
) -> Float[Array, "*shape"]:
    """x + v (sigma_next - sigma), per element of sigma."""
    return xt + velocity * match(sigma_next - sigma, xt)
