"""Scores of one frame of a sequence: the generator's gradient, and the critic's error.

See docs/method.md, Distribution matching.
"""

import jax
import jax.numpy as jnp

from anchoredit_jax.arrays import Array, Float, Int, Params
from anchoredit_jax.diffusion import losses, schedule
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages import distill
from anchoredit_jax.stages.step import Batch


def matching_loss(
    run: RunConfig,
    teacher: Params,
    critic: Params,
    batch: Batch,
    x0: Float[Array, "B h w C"],
    sequence: Float[Array, "B T h w C"],
    target: int | Int[Array, ""],
    level: Float[Array, " B"],
    noise: Float[Array, "B h w C"],
) -> tuple[Float[Array, " B"], Float[Array, "B h w C"]]:
    """(loss [B], normalised gradient [B, h, w, C]) of frame k's x_0.

    Args:
      level: timesteps [B] at which the scores are compared.
      noise: [B, h, w, C].
    """
    noised, timesteps = renoise(
        run, sequence, jax.lax.stop_gradient(x0), target, level, noise
    )
    real = distill.sequence_x0(
        run, teacher, noised, timesteps, batch, target, run.options.guidance
    )
    fake = distill.sequence_x0(run, critic, noised, timesteps, batch, target)
    return losses.distribution_matching(x0, real, fake)


def renoise(
    run: RunConfig,
    sequence: Float[Array, "B T h w C"],
    x0: Float[Array, "B h w C"],
    target: int | Int[Array, ""],
    level: Float[Array, " B"],
    noise: Float[Array, "B h w C"],
) -> tuple[Float[Array, "B T h w C"], Float[Array, "B T"]]:
    """The sequence with frame k = x_0 noised to `level`, all other frames clean."""
    noised = schedule.add_noise(
        x0, noise, schedule.sigma_at(level, run.sampler.snap_shift)
    )
    is_target = jnp.arange(sequence.shape[1]) == target
    mask = is_target[None, :, None, None, None]
    timesteps = jnp.where(is_target[None], level[:, None], 0.0)
    return jnp.where(mask, noised[:, None], sequence), timesteps


def denoising_loss(
    run: RunConfig,
    critic: Params,
    batch: Batch,
    generated: Float[Array, "B T h w C"],
    target: int | Int[Array, ""],
    level: Float[Array, " B"],
    noise: Float[Array, "B h w C"],
) -> Float[Array, " B"]:
    """Weighted error [B] of the critic on frame k of a generated sequence."""
    x0 = jnp.take(generated, target, axis=1)
    noised, timesteps = renoise(run, generated, x0, target, level, noise)
    predicted = distill.sequence_x0(run, critic, noised, timesteps, batch, target)
    if run.options.critic_weighting == "x0":
        return jnp.mean(jnp.square(predicted - x0), axis=(1, 2, 3))
    velocity = schedule.x0_to_velocity(
        jnp.take(noised, target, axis=1),
        predicted,
        schedule.sigma_at(level, run.sampler.snap_shift),
    )
    return jnp.mean(jnp.square(velocity - (noise - x0)), axis=(1, 2, 3))
