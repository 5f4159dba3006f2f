"""Spikes: gradients whose norm is far above the median of the last ones.

The last norms are part of the state, so that a run that goes on judges its next step as
it would have been judged. Everything here is traced into the training step.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import optax

from anchoredit_jax.arrays import Array, Bool, Float
from anchoredit_jax.run_config import LoopConfig

WINDOW = 64  # norms that are remembered
KNOWN = 16  # with fewer of them nothing is a spike


def with_norms(state: Any, loop: LoopConfig) -> Any:
    """A train state that remembers norms, where spikes are looked for."""
    if not loop.spike_factor:
        return state
    networks = ("params", "critic")[: 1 + (state.critic_opt_state is not None)]
    norms = {name: jnp.full((WINDOW,), jnp.nan, jnp.float32) for name in networks}
    return dataclasses.replace(state, norms=norms)


def look(
    norms: Float[Array, " W"], grads: Any, loop: LoopConfig
) -> tuple[Float[Array, " W"], Bool[Array, ""]]:
    """(the last norms with this one, whether it is a spike).

    A spike is remembered too: where the norm has risen for good, the median follows.
    One that is not finite is neither.
    """
    norm = optax.tree.norm(grads).astype(jnp.float32)
    known = jnp.sum(jnp.isfinite(norms)) >= KNOWN
    median = jnp.nanmedian(norms)
    finite = jnp.isfinite(norm)
    spike = known & finite & (norm > jnp.float32(loop.spike_factor) * median)
    pushed = jnp.concatenate([norms[1:], norm[None]])
    return jnp.where(finite, pushed, norms), spike
