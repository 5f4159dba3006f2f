"""What a frame is shown of the past in training: which frames, where, and how good.

Pure in its keys; the options are the stage's (`causal_forcing.Options`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anchoredit_jax import randomness
from anchoredit_jax.arrays import Array, Bool, Float, Int, Key
from anchoredit_jax.diffusion import degradation
from anchoredit_jax.memory import FrameVisibility

# (x [B, ...], timesteps [B, ...]) -> v, like x; and with the parameters before them
Velocity = Callable[[jax.Array, jax.Array], jax.Array]
VelocityOf = Callable[..., Any]
# (latents [B, T, h, w, C], chosen [B, T]) -> latents, see `degradation.degrade`
RoundTripFn = Callable[[jax.Array, jax.Array], jax.Array]


def memory_visibility(
    options: Any, choice: Int[Array, " B"] | None = None
) -> FrameVisibility:
    """Causal, one of the memory policies for every sample.

    Args:
      choice: int32 [B], which; None where only the policies matter.
    """
    # A memory's window counts past frames; visibility counts all, itself included.
    choices = tuple(
        (sink + window + 1 if window else None, sink)
        for sink, window in options.memory_policies
    )
    return FrameVisibility("causal", choices=choices, choice=choice)


def draw_visibility(keys: Key[Array, " B"], options: Any) -> FrameVisibility:
    """Causal, narrowed per sample to one of the memory policies."""
    count = len(options.memory_policies)
    if not count:
        return memory_visibility(options)
    return memory_visibility(options, jnp.int32(randomness.uniforms(keys) * count))


def draw_positions(
    keys: Key[Array, " B"], frames: int, options: Any
) -> Float[Array, "#B T"]:
    """Temporal positions float32 [B, T], with a random gap behind the source."""
    positions = jnp.arange(frames, dtype=jnp.float32)[None]
    if not options.position_gap:
        return positions
    draws = randomness.uniforms(keys, (2,))
    gap = jnp.floor(draws[:, :1] * (options.position_gap + 1))
    gap = jnp.where(draws[:, 1:] < options.gap_probability, gap, 0.0)
    return positions + gap * jnp.float32(positions > 0)


def worsen(
    context: Float[Array, "B T h w C"],
    keys: Key[Array, " B"],
    timesteps: Float[Array, "B T"],
    options: Any,
    round_trip: RoundTripFn | None = None,
) -> Float[Array, "B T h w C"]:
    """Degraded context: every frame but the source, which is what the user gave.

    Args:
      round_trip: see `degradation.degrade`.
    """
    worse = context = jnp.asarray(context)
    if options.degrade.active:
        draws = degradation.draw(keys, context.shape[1:], options.degrade)
        worse = degradation.degrade(worse, draws, options.degrade, round_trip)
    if options.history_noise:
        folded = jax.vmap(lambda key: jax.random.fold_in(key, 1000))(keys)
        level = randomness.uniforms(folded, (context.shape[1], 1, 1, 1))
        history = (timesteps == 0)[..., None, None, None]
        folded = jax.vmap(lambda key: jax.random.fold_in(key, 1001))(keys)
        extra = randomness.normals(folded, context.shape[1:])
        worse = worse + options.history_noise * level * extra * jnp.float32(history)
    return worse.at[:, 0].set(context[:, 0])


def swap_in(
    latents: Float[Array, "B T h w C"],
    predicted: Float[Array, "B T h w C"],
    wanted: Bool[Array, "B T"],
) -> tuple[Float[Array, "B T h w C"], Bool[Array, "B T"]]:
    """Replace wanted frames, never the source nor the last: (latents, replaced)."""
    frames = latents.shape[1]
    middle = (jnp.arange(frames) > 0) & (jnp.arange(frames) < frames - 1)
    replaced = wanted & middle[None]
    mask = replaced[..., None, None, None]
    return jnp.where(mask, jax.lax.stop_gradient(predicted), latents), replaced


def beside_history(
    network: Callable[..., Any],
    history: Float[Array, "B T h w C"],
    visibility: FrameVisibility,
    positions: Float[Array, "#B T"],
) -> VelocityOf:
    """velocity(params, noised, timesteps) of frames that see history, not each other.

    Args:
      history: [B, T, h, w, C], clean; frame i is seen by the frames after it.
      positions: [B or 1, T], of both.
    """
    visibility = dataclasses.replace(visibility, mode="history_and_targets")
    positions = jnp.concatenate([positions[:, :-1], positions[:, 1:]], 1)

    def velocity(
        params: Any, noised: Float[Array, "B T h w C"], timesteps: Float[Array, "B T"]
    ) -> Float[Array, "B T h w C"]:
        both = network(
            params,
            jnp.concatenate([history[:, :-1], noised[:, 1:]], 1),
            jnp.concatenate([jnp.zeros_like(timesteps[:, 1:]), timesteps[:, 1:]], 1),
            visibility=visibility,
            positions=positions,
        )
        targets = both[:, history.shape[1] - 1 :]
        return jnp.pad(targets, ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))

    return velocity
