"""How well held-out frames are predicted, alike in all stages.

A training loss says little about a run: nearly clean frames are easy, and a stage's own
weights and noise levels decide how many of them there are. This is measured at the
levels between those that editing visits, with the same noise each time, and with the
history that editing shows: clean, through the run's memory.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from anchoredit_jax import randomness
from anchoredit_jax.arrays import Array, Float, Params
from anchoredit_jax.diffusion import losses, samplers, schedule
from anchoredit_jax.memory import FrameVisibility, MemoryConfig
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.context import beside_history
from anchoredit_jax.stages.passes import Pass
from anchoredit_jax.stages.step import Batch


def errors_by_noise(
    model: TransformerConfig,
    memory: MemoryConfig,
    params: Params,
    batch: Batch,
    intervals: Float[Array, "levels 2"],
) -> tuple[Float[Array, "levels N"], Float[Array, " N"]]:
    """Errors of x_0, predicted from each of some intervals of timesteps.

    Args:
      memory: what history the frames see.
      batch: fixed sessions of N turns, see `data.batches.collate`. Their ids name the
        noise, and the timesteps, uniform in the interval.
      intervals: (low, high) of each, see `samplers.noise_intervals`.

    Returns:
      (the sum over the samples of the mean squared error of each turn's latents, by
      interval; how many samples have the turn).
    """
    latents = batch["latents"]
    frames = latents.shape[1]
    root = randomness.stage_key(0, "held out")

    def keys(purpose: Purpose) -> jax.Array:
        return randomness.sample_keys(root, 0, batch["id"], purpose)

    noise = randomness.normals(keys(Purpose.NOISE), latents.shape[1:])
    places = randomness.uniforms(keys(Purpose.TIMESTEPS), (frames,))
    network: Any = functools.partial(Transformer(model).apply, text=batch["text"])
    velocity = beside_history(
        network,
        latents,
        edited_visibility(memory),
        jnp.arange(frames, dtype=jnp.float32)[None],
    )

    def errors_in(interval: Float[Array, "2"]) -> Float[Array, " N"]:
        timesteps = interval[0] + places * (interval[1] - interval[0])
        sigmas = timesteps / schedule.TIMESTEPS
        noised = schedule.add_noise(latents, noise, sigmas)
        predicted = velocity({"params": params}, noised, timesteps)
        x0 = schedule.velocity_to_x0(noised, predicted, sigmas)
        errors = losses.frame_errors(x0, latents) * batch["frame_valid"]
        return errors[:, 1:].sum(0)

    return jax.lax.map(errors_in, intervals), batch["frame_valid"][:, 1:].sum(0)


def edited_visibility(memory: MemoryConfig) -> FrameVisibility:
    """The frames that editing with a memory sees, as the rule of a sequence, which
    counts the frame itself."""
    if memory.window is None:
        return FrameVisibility("causal")
    window = memory.sink + memory.window + 1
    return FrameVisibility("causal", window=window, sink=memory.sink)


def passes(run: RunConfig, frames: int) -> tuple[Pass, ...]:
    """The passes of one measure, per sample."""
    levels = len(samplers.noise_intervals(run.sampler))
    rule = FrameVisibility("history_and_targets")
    return (Pass("held out", 2 * (frames - 1), frames - 1, rule, mean=levels),)
