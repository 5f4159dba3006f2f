"""A stage's plain loss by noise level and by turn, for its metrics."""

from collections.abc import Sequence

import jax.numpy as jnp

from anchoredit_jax.arrays import Array, Float

Interval = tuple[float, float]  # timesteps above the first, up to the second


def interval_name(interval: Interval) -> str:
    """An interval as metrics name it, such as "900-1000"."""
    return f"{interval[0]:.0f}-{interval[1]:.0f}"


def by_noise(
    errors: Float[Array, "*shape"],
    timesteps: Float[Array, "*shape"],
    counted: Float[Array, "*shape"],
    intervals: Sequence[Interval],
) -> dict[str, Float[Array, ""]]:
    """The mean error in each interval, NaN where it has no target; and the mean
    timestep.

    Args:
      counted: above 0 for targets.
      intervals: see `samplers.noise_intervals`.
    """
    targets = jnp.float32(counted > 0)
    told = {"timestep": _mean(timesteps, targets)}
    for low, high in intervals:
        inside = targets * jnp.float32((timesteps > low) & (timesteps <= high))
        told[f"noise/{interval_name((low, high))}"] = _mean(errors, inside)
    return told


def by_turn(
    errors: Float[Array, "B T"], counted: Float[Array, "B T"]
) -> dict[str, Float[Array, ""]]:
    """The mean error of each turn of a sequence, NaN where it is never a target;
    nothing of a single turn."""
    turns = range(1, errors.shape[1])
    targets = jnp.float32(counted > 0)
    if len(turns) < 2:
        return {}
    return {f"turn/{k}": _mean(errors[:, k], targets[:, k]) for k in turns}


def _mean(
    values: Float[Array, "*shape"], weights: Float[Array, "*shape"]
) -> Float[Array, ""]:
    total = weights.sum()
    mean = (values * weights).sum() / jnp.maximum(total, 1.0)
    return jnp.where(total > 0, mean, jnp.nan)
