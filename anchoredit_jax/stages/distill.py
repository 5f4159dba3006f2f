"""What the two distillation stages share: target turns, histories, scores."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from anchoredit_jax import memory as memories
from anchoredit_jax import randomness, turn
from anchoredit_jax.arrays import Array, Float, Int, Key
from anchoredit_jax.diffusion import losses, samplers, schedule
from anchoredit_jax.memory import MemoryView
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.step import Batch, Params

STEPS_SCOPE = "few_steps"  # names the loop in compiled programs, for plans


@dataclasses.dataclass(frozen=True)
class History:
    """Who sees what, in one batch of target turns.

    Attributes:
      target: int32 [B], k: the frame that is generated; frames < k are its history.
      visibility, positions: as in a sequence forward.
    """

    target: Int[Array, " B"]
    visibility: memories.FrameVisibility
    positions: Float[Array, "#B T"]


def frame(sequence: Array, index: Int[Array, " B"]) -> Array:
    """sequence[b, index[b]]: [B, T, ...] -> [B, ...]."""
    return jax.vmap(lambda x, i: x[i])(sequence, index)


def history_view(
    run: RunConfig,
    params: Params,
    latents: Float[Array, "B T h w C"],
    text: Float[Array, "B N S Dt"],
    history: History,
) -> MemoryView:
    """The memory of frames 0..k-1 made with `params`, without gradient."""
    frames = latents.shape[1]
    keys, values = jax.lax.stop_gradient(
        turn.remember_sequence(
            run.model, params, latents, text, history.visibility, history.positions
        )
    )
    size = latents.shape[0]
    index = jnp.arange(frames)[None]
    seen = history.visibility.sample_table(frames)
    if seen is None:
        seen = history.visibility.table(frames)[None]
    seen = jnp.broadcast_to(seen, (size, frames, frames))
    valid = frame(seen, history.target) & (index < history.target[:, None])
    positions = jnp.broadcast_to(history.positions, (size, frames))
    return MemoryView(keys, values, valid, positions, frame(positions, history.target))


def sequence_x0(
    run: RunConfig,
    params: Params,
    noised: Float[Array, "B T h w C"],
    timesteps: Float[Array, "B T"],
    batch: Batch,
    target: int | Int[Array, ""],
    guidance: float = 1.0,
) -> Float[Array, "B h w C"]:
    """x_0 of frame `target` (int32 scalar) from a whole-sequence causal forward.

    Args:
      noised: [B, T, h, w, C]; only frame `target` is noised.
      timesteps: [B, T].
      guidance: 1 for none; else guided against the unconditional text.
    """
    text = batch["text"]
    apply: Any = functools.partial(Transformer(run.model).apply, {"params": params})
    if guidance == 1.0:
        velocity = apply(noised, timesteps, text)
    else:
        both = apply(
            jnp.concatenate([noised, noised]),
            jnp.concatenate([timesteps, timesteps]),
            jnp.concatenate([text, null_turns(batch)]),
        )
        given, none = jnp.split(both, 2)
        velocity = samplers.guide(given, none, guidance)
    at = jnp.take(timesteps, target, axis=1)
    sigma = schedule.sigma_at(at, run.sampler.snap_shift)
    return schedule.velocity_to_x0(
        jnp.take(noised, target, axis=1), jnp.take(velocity, target, axis=1), sigma
    )


def anchor_errors(
    x0: Float[Array, "B h w C"],
    batch: Batch,
    target: Int[Array, "..."],
    patch: int,
    share: float = 0.125,
) -> Float[Array, " B"]:
    """Error of x_0 against the ground truth, [B]; 0 where several answers are right, or
    none follows from what was shown.

    Mean square over the frame plus that over its worst tokens, as a whole mean hides
    lost details. Where the answer is one, a few steps must still reach it: without
    this, distillation trades it for the spread of the other instructions.

    Args:
      x0: [B, h, w, C].
      target: int32 [B] or scalar, the frame that x0 is of.
      share: the share of a frame's tokens that counts as the worst.
    """
    target = jnp.broadcast_to(target, x0.shape[:1])
    truth = frame(batch["latents"], target)
    one = frame(batch["answers"], target).sum((1, 2)) == 0
    one = jnp.float32(one) * frame(batch["frame_valid"], target)
    hard = losses.hard_errors(x0[:, None], truth[:, None], patch, share)[:, 0]
    return one * (jnp.mean(jnp.square(x0 - truth), (1, 2, 3)) + hard)


def null_turns(batch: Batch) -> Float[Array, "B N S Dt"]:
    """The unconditional text for every turn, like `batch["text"]` [B, N, S, Dt]."""
    return jnp.broadcast_to(batch["null_text"][:, None], batch["text"].shape)


def draw_turn(key: Key[Array, ""], turns: int) -> Int[Array, ""]:
    """A target turn 1..turns that the whole batch shares, int32."""
    return randomness.integer(key, 1, turns + 1)
