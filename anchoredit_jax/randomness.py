"""Every random draw: fold_in(root, stage, step, sample, purpose), one key per example.

Nothing about randomness is ever saved, and no draw depends on the mesh, on the batch's
order or on what was drawn before (docs/method.md, Determinism).

Draws are made under `plain_counters`: JAX's default counters of 64 bits exist so that
one large draw can be split over devices, which per-example draws do not need, and XLA's
CPU compiler spends 15 seconds on each of them, against less than one.
"""

import enum
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from anchoredit_jax.arrays import Array, Float, Integer, Key


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


def stage_key(seed: int | Integer[Array, ""], stage: str) -> Key[Array, ""]:
    """The root key of a stage: its name is hashed, so stages never share draws."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))


def step_key(
    root: Key[Array, ""], step: Integer[Array, ""] | int, purpose: Purpose
) -> Key[Array, ""]:
    """A key that a whole step shares (a draw common to the batch, such as a turn)."""
    return jax.random.fold_in(jax.random.fold_in(root, step), int(purpose))


def sample_keys(
    root: Key[Array, ""],
    step: Integer[Array, ""] | int,
    samples: Integer[Array, " B"],
    purpose: Purpose,
) -> Key[Array, " B"]:
    """One key for each sample, by its index."""
    key = step_key(root, step, purpose)
    return jax.vmap(lambda sample: jax.random.fold_in(key, sample))(samples)


def plain_counters() -> Any:
    """A context in which a draw counts with 32 bits; all of ours are made in it."""
    return jax.threefry_partitionable(False)


def per_example(draw: Callable[[Array], Array], keys: Key[Array, " B"]) -> Array:
    """Stack `draw(key)` over the keys: values do not depend on how B is sharded."""
    with plain_counters():
        return jax.vmap(draw)(keys)


def integer(
    key: Key[Array, ""], low: int, high: Integer[Array, ""] | int
) -> Integer[Array, ""]:
    """One int32 in [low, high) that a whole step shares."""
    with plain_counters():
        return jax.random.randint(key, (), low, high)


def normals(keys: Key[Array, " B"], shape: tuple[int, ...]) -> Float[Array, "B ..."]:
    """Standard normals [B, *shape], in float32."""
    return per_example(lambda key: jax.random.normal(key, shape, jnp.float32), keys)


def uniforms(
    keys: Key[Array, " B"], shape: tuple[int, ...] = ()
) -> Float[Array, "B ..."]:
    """Uniforms in [0, 1) [B, *shape], in float32."""
    return per_example(lambda key: jax.random.uniform(key, shape, jnp.float32), keys)
