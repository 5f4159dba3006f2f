"""Digests of arrays on devices, of batches on the host, and of a step's keys."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from anchoredit_jax import files, randomness
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.trees import leaves_by_name

_LANES = (0x9E3779B9, 0x7F4A7C15)


def digest_leaves(state: Any) -> dict[str, str]:
    """Name of every array of a state -> 16 hex digits over shape, dtype and bits.

    Made where the arrays lie: every element is mixed with its place, and the results
    are added modulo 2^32, in two lanes. Such sums do not depend on their order, so
    neither does the digest on the mesh, and of an array spread over hosts only eight
    bytes travel. A change of one element is always seen, of several ones by all but
    one chance in 2^64.
    """
    leaves = leaves_by_name(state)
    place = next(iter(leaves.values())).sharding
    if isinstance(place, NamedSharding):
        place = NamedSharding(place.mesh, PartitionSpec())
    sums = jax.device_get(_program(place)(leaves))
    return {
        name: files.blake2b(
            f"{leaf.dtype.name}{list(leaf.shape)}".encode(), sums[name].tobytes()
        )
        for name, leaf in leaves.items()
    }


@functools.cache
def _program(place: jax.sharding.Sharding) -> Any:
    """Sums of all leaves by name; every process has them.

    One program, not one a leaf: on CPUs programs with collectives that are under way
    together can wait for each other for ever.
    """
    return jax.jit(
        lambda leaves: {name: _lanes(leaf) for name, leaf in leaves.items()},
        out_shardings=place,
    )


def _lanes(leaf: jax.Array) -> jax.Array:
    """The two sums of an array's digest, uint32 [2]."""
    bits = _bits(leaf)
    place, stride = jnp.zeros(leaf.shape, jnp.uint32), 1
    for axis in reversed(range(leaf.ndim)):
        along = jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
        place = place + along * jnp.uint32(stride % 2**32)
        stride *= leaf.shape[axis]
    return jnp.stack(
        [jnp.sum(_mix(bits + _mix(place + jnp.uint32(lane)))) for lane in _LANES]
    )


def _bits(leaf: jax.Array) -> jax.Array:
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    return jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
    """The last mixing of MurmurHash3: one to one."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return x ^ (x >> 16)


def digest_rows(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """uint32 [rows, 2]: of all arrays of each row, their names among them."""
    names = sorted(batch)
    digests = [
        files.blake2b(
            *(
                part
                for name in names
                for part in (name.encode(), np.ascontiguousarray(batch[name][row]).data)
            )
        )
        for row in range(len(batch["id"]))
    ]
    return np.frombuffer(bytes.fromhex("".join(digests)), np.uint32).reshape(-1, 2)


@jax.jit
def step_keys(root: jax.Array, step: jax.Array, samples: jax.Array) -> jax.Array:
    """Make the keys that a step may draw from, uint32 [B, purposes, 2], from step 0 on.

    Made by the very functions that the stages call. Whatever a stage draws is a
    function of these keys, or of one that the whole step shares, which they are
    folded from.
    """
    return jnp.stack(
        [
            jax.random.key_data(randomness.sample_keys(root, step, samples, purpose))
            for purpose in Purpose
        ],
        axis=1,
    )


def digest_keys(keys: np.ndarray) -> np.ndarray:
    """uint32 [rows, 2] from keys [rows, purposes, 2]."""
    digests = "".join(files.blake2b(np.ascontiguousarray(row).data) for row in keys)
    return np.frombuffer(bytes.fromhex(digests), np.uint32).reshape(-1, 2)
