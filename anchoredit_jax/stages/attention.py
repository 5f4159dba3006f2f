"""Which frames of a training sequence see which, as an option of a stage."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from anchoredit_jax.arrays import Array, Float
from anchoredit_jax.memory import FrameVisibility

ATTENTION = ("causal", "bidirectional", "teacher_forcing")
TEACHER_FORCING = FrameVisibility("teacher_forcing")


def teacher_forced(
    network: Callable[..., Any],
    history: Float[Array, "B T h w C"],
    positions: Float[Array, "#B T"],
) -> Callable[..., Any]:
    """velocity(params, noised, timesteps) of frames that see clean ones before them.

    The reference's teacher forcing: the clean sequence stands beside the noised one, at
    the same places. A clean frame sees only itself, so unlike in a memory none knows of
    the frames before it.

    Args:
      network: (params, latents, timesteps, visibility=, positions=) -> velocity.
      history: [B, T, h, w, C], clean; seen by the noised frames after each.
      positions: [B or 1, T], of both.
    """
    frames = history.shape[1]
    positions = jnp.concatenate([positions, positions], 1)

    def velocity(
        params: Any, noised: Float[Array, "B T h w C"], timesteps: Float[Array, "B T"]
    ) -> Float[Array, "B T h w C"]:
        both = network(
            params,
            jnp.concatenate([history, noised], 1),
            jnp.concatenate([jnp.zeros_like(timesteps), timesteps], 1),
            visibility=TEACHER_FORCING,
            positions=positions,
        )
        return both[:, frames:]

    return velocity
