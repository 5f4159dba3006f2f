"""Every random draw: fold_in(root, stage, step, sample, purpose), one key per example.

Nothing about randomness is ever saved, and no draw depends on the mesh, on the batch's
order or on what was drawn before (design 4).

Draws are made under `plain_counters`: JAX's default counters of 64 bits exist so that
one large draw can be split over devices, which per-example draws do not need, and XLA's
CPU compiler spends 15 seconds on each of them, against less than one.
"""

import enum
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp


class Purpose(enum.IntEnum):
    """What a key is for; two purposes never share a key."""

    INIT = 0
    TIMESTEPS = 1
    NOISE = 2
    HISTORY = 3
    ROLLOUT = 4
    DEGRADE = 5
    MEMORY_POLICY = 6
    POSITION_GAP = 7
    TARGET_TURN = 8
    GRID_POINT = 9
    RENOISE = 10
    SCORE_NOISE = 11
    SCORE_TIMESTEP = 12
    CRITIC_NOISE = 13
    CRITIC_TIMESTEP = 14
    SESSION = 15


def stage_key(seed: int, stage: str) -> jax.Array:
    """The root key of a stage: its name is hashed, so stages never share draws."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))


def step_key(root: jax.Array, step: jax.Array, purpose: Purpose) -> jax.Array:
    """A key that a whole step shares (a draw common to the batch, such as a turn)."""
    return jax.random.fold_in(jax.random.fold_in(root, step), int(purpose))


def sample_keys(
    root: jax.Array, step: jax.Array, samples: jax.Array, purpose: Purpose
) -> jax.Array:
    """Keys [B], one per sample index of `samples` [B]."""
    key = step_key(root, step, purpose)
    return jax.vmap(lambda sample: jax.random.fold_in(key, sample))(samples)


def plain_counters():
    """A context in which a draw counts with 32 bits; all of ours are made in it."""
    return jax.threefry_partitionable(False)


def per_example(draw: Callable, keys: jax.Array) -> jax.Array:
    """Stack `draw(key)` over keys [B]: values do not depend on how B is sharded."""
    with plain_counters():
        return jax.vmap(draw)(keys)


def integer(key: jax.Array, low: int, high: jax.Array | int) -> jax.Array:
    """One int32 in [low, high) that a whole step shares."""
    with plain_counters():
        return jax.random.randint(key, (), low, high)


def normals(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normals float32 [B, *shape]."""
    return per_example(lambda key: jax.random.normal(key, shape, jnp.float32), keys)


def uniforms(keys: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Uniforms in [0, 1), float32 [B, *shape]."""
    return per_example(lambda key: jax.random.uniform(key, shape, jnp.float32), keys)
