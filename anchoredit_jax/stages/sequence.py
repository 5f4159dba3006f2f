"""The denoising loss of a whole sequence, shared by stages 1 and 2.

See docs/method.md, Losses.

Pure in its draws, so recorded ones can be replayed value by value.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from anchoredit_jax.arrays import Array, Float
from anchoredit_jax.diffusion import losses, schedule
from anchoredit_jax.stages.breakdown import Interval, by_noise, by_turn
from anchoredit_jax.strict import Bounded, result


@dataclasses.dataclass(frozen=True)
class SequenceLossConfig(Bounded, place="options.loss"):
    """How a frame's error is weighed.

    The extra terms choose tokens by what the target holds. Where an instruction has
    several right answers that would pull the mean over them towards showing all at
    once. There the edit term takes all tokens that any right answer changes, and the
    hard term none.

    Attributes:
      turn_alpha: weight 1 + alpha p, p from 0 (first turn) to 1 (last).
      edit_weight: adds this much of the mean error over the tokens that the edit
        changes, or may change (ours; 0 replays the reference).
      hard_weight, hard_share: adds this much of the mean error over this share of each
        frame's tokens, the worst ones (ours; 0 replays the reference).
      edit_threshold: root mean square latent difference that counts as a change.
      weighting: "velocity" (the reference), "x0" (velocity error times sigma^2) or
        "bell" (times `schedule.bell_weight`, which the reference's scheduler offers).
    """

    turn_alpha: float = result(0.0, within="[0, 1e6]")
    edit_weight: float = result(0.0, within="[0, 1e6]")
    edit_threshold: float = result(0.05, within="[0, 1000]")
    hard_weight: float = result(0.0, within="[0, 1e6]")
    hard_share: float = result(0.125, within="(0, 1]")
    weighting: str = result("velocity", within=("velocity", "x0", "bell"))


def sequence_loss(
    velocity: Callable[[jax.Array, jax.Array], jax.Array],
    latents: Float[Array, "B T h w C"],
    context: Float[Array, "B T h w C"],
    timesteps: Float[Array, "B T"],
    noise: Float[Array, "B T h w C"],
    frame_mask: Float[Array, "B T"],
    config: SequenceLossConfig,
    patch: int,
    sigmas: Float[Array, "B T"] | None = None,
    before: Float[Array, "B ... h w C"] | None = None,
    answers: Float[Array, "B T h w"] | None = None,
    counted: Float[Array, "B T rows columns"] | None = None,
    intervals: Sequence[Interval] = (),
) -> tuple[
    Float[Array, " B"], Float[Array, " B"], dict[str, Any], Float[Array, "B T h w C"]
]:
    """Per-sample error of the predicted velocities.

    Args:
      velocity: (noised [B, T, h, w, C], timesteps [B, T]) -> [B, T, h, w, C].
      latents: the ground truth; the target is always noise - latents.
      context: what gets noised: the ground truth, degraded or replaced.
      timesteps: [B, T]; a frame at 0 is clean history.
      noise: like latents.
      frame_mask: [B, T], 0 for frames that are context only (frame 0 is always).
      patch: token side in latents, for the edit-aware term.
      before: what frames 1..T-1 were edited from; the frame before each by default.
      answers: [B, T, h, w], 1 where any of several right answers changes the image; by
        default every instruction has one.
      counted: [B, T, h/p, w/p], 1 for tokens in the loss; by default all.
      intervals: of timesteps, whose losses the metrics tell apart.
      sigmas: [B, T]; timesteps / 1000 by default (the reference snaps to a grid).

    Returns:
      (errors [B], kept [B] float32: whether the sample has a frame in the loss,
      metrics, predicted velocity).
    """
    sigmas = timesteps / schedule.TIMESTEPS if sigmas is None else sigmas
    predicted = velocity(schedule.add_noise(context, noise, sigmas), timesteps)
    target = noise - latents
    scale = _scale_of(config.weighting, timesteps, sigmas)
    if counted is None:
        plain = losses.frame_errors(predicted, target) * scale
    else:
        plain = losses.token_errors(predicted, target, counted) * scale
    weights = (
        losses.turn_weights(latents.shape[1], config.turn_alpha)[None] * frame_mask
    )
    errors, kept = losses.weighted_mean(plain, weights)
    metrics = {"plain": _mean(errors, kept)}
    if intervals:
        metrics |= by_noise(plain, timesteps, weights, intervals)
        metrics |= by_turn(plain, weights)
    if config.edit_weight:
        before = latents[:, :-1] if before is None else before
        changed = losses.changed_tokens(latents, before, patch, config.edit_threshold)
        if answers is not None:
            changed = jnp.maximum(changed, losses.masked_tokens(answers, patch))
        if counted is not None:
            changed = changed * counted
        edit = losses.token_errors(predicted, target, changed) * scale
        # Frames that change nothing (a kept image) have no edit error to weigh.
        edited = weights * jnp.float32(changed.sum((2, 3)) > 0)
        edit, any_edit = losses.weighted_mean(edit, edited)
        metrics["edit"] = _mean(edit, any_edit)
        errors = errors + config.edit_weight * edit
    if config.hard_weight:
        hard = losses.hard_errors(predicted, target, patch, config.hard_share, counted)
        hard = hard * scale
        if answers is not None:
            weights = weights * jnp.float32(answers.sum((2, 3)) == 0)
        hard, any_hard = losses.weighted_mean(hard, weights)
        metrics["hard"] = _mean(hard, any_hard)
        errors = errors + config.hard_weight * hard
    return errors, kept, metrics, predicted


def _scale_of(
    weighting: str, timesteps: Float[Array, "B T"], sigmas: Float[Array, "B T"]
) -> Float[Array, "B T"]:
    if weighting == "bell":
        return jnp.maximum(schedule.bell_weight(timesteps), 0.0)
    return sigmas**2 if weighting == "x0" else jnp.ones_like(sigmas)


def _mean(values: Float[Array, " B"], weights: Float[Array, " B"]) -> Float[Array, ""]:
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1.0)
