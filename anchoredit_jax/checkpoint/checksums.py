"""A checksum of every array, the same on any mesh, and a search for numbers that are
none.

A checksum is a sum over the array's words, each mixed with its place: one pass that
needs no order, so that every device sums what it holds. A single changed bit always
changes it. It is no defence against forgery, only against chance.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.trees import leaves_by_name

WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint32}  # by bytes of a number
CHUNK = 2**16  # numbers that are looked at together on the host
PLACE, FIRST, SECOND = (np.uint32(n) for n in (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35))
HALF, PART = np.uint32(16), np.uint32(13)


def checksums(tree: Any) -> dict[str, str]:
    """Name -> "float32[16,8] 1a2b3c4d" of every array of a tree.

    Of several processes all have to call this where arrays lie on several hosts.
    """
    leaves = leaves_by_name(tree)
    sums = _of_all(leaves, _checksum_on_host, _checksums_in_place)
    return {
        name: f"{shape_text(leaf)} {int(sums[name]):08x}"
        for name, leaf in leaves.items()
    }


def shape_text(leaf: Any) -> str:
    """Dtype and shape: "float32[16,8]"."""
    sizes = ",".join(str(size) for size in leaf.shape)
    return f"{np.dtype(leaf.dtype).name}[{sizes}]"


def text_digest(record: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a record of JSON values, whatever the order of keys."""
    text = json.dumps(record, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def check_finite(leaves: Mapping[str, Any], where: str, prefix: str = "") -> None:
    """Refuse weights that are no numbers.

    Args:
      leaves: arrays by name.
      where: what the error calls the place that they are from.
      prefix: of the names.

    Raises:
      UserError: an array holds NaN or an infinity; it is named.
    """
    numbers = {n: x for n, x in leaves.items() if jnp.issubdtype(x.dtype, jnp.inexact)}
    bad = dict.fromkeys(leaves, 0)
    bad |= _of_all(numbers, _not_finite_on_host, _not_finite_in_place)
    found = [name for name in leaves if bad[name]]
    if found:
        more = f" and {len(found) - 1} more arrays" if len(found) > 1 else ""
        raise UserError(
            f"{where}: not finite, NaN or infinities in {prefix + found[0]!r} "
            f"({int(bad[found[0]])} of {leaves[found[0]].size} numbers){more}: these "
            "weights are broken; take an earlier checkpoint or fetch the file again"
        )


def _of_all(
    leaves: Mapping[str, Any],
    on_host: Callable[[Any], Any],
    in_place: Callable[[dict[str, jax.Array]], dict[str, jax.Array]],
) -> dict[str, Any]:
    """A number of every array, those of the same devices in one program: programs that
    talk to other hosts must not overtake each other."""
    found = {name: on_host(leaf) for name, leaf in leaves.items() if _is_on_host(leaf)}
    groups: dict[Any, dict[str, jax.Array]] = {}
    for name, leaf in leaves.items():
        if name not in found:
            groups.setdefault(frozenset(leaf.sharding.device_set), {})[name] = leaf
    for group in groups.values():
        found |= jax.device_get(in_place(group))
    return found


def _checksum_on_host(leaf: Any) -> Any:
    total = np.uint32(0)
    for start, part in _chunks(leaf):
        words = part.view(WORDS[part.dtype.itemsize]).astype(np.uint32)
        start *= words.size // max(part.size, 1)
        places = np.arange(start, start + words.size, dtype=np.uint64)
        mixed = _mixed(words, places.astype(np.uint32))
        total = np.add(total, mixed.sum(dtype=np.uint32), dtype=np.uint32)
    return total


@jax.jit
def _checksums_in_place(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: _checksum_in_place(leaf) for name, leaf in leaves.items()}


def _checksum_in_place(leaf: jax.Array) -> jax.Array:
    if leaf.dtype == jnp.bool_:
        leaf = leaf.astype(jnp.uint8)
    words = jax.lax.bitcast_convert_type(leaf, WORDS[leaf.dtype.itemsize])
    places, stride = jnp.zeros(words.shape, jnp.uint32), 1
    for axis in reversed(range(words.ndim)):
        along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        places, stride = (
            places + along * np.uint32(stride % 2**32),
            stride * words.shape[axis],
        )
    return _mixed(words.astype(jnp.uint32), places).sum(dtype=jnp.uint32)


def _mixed(words: Any, places: Any) -> Any:
    """The words, every bit spread over all; for numpy and JAX alike."""
    mixed = words + places * PLACE
    mixed = (mixed ^ (mixed >> HALF)) * FIRST
    mixed = (mixed ^ (mixed >> PART)) * SECOND
    return mixed ^ (mixed >> HALF)


def _not_finite_on_host(leaf: Any) -> int:
    return sum(part.size - int(np.isfinite(part).sum()) for _, part in _chunks(leaf))


@jax.jit
def _not_finite_in_place(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {
        name: (~jnp.isfinite(leaf)).sum(dtype=jnp.uint32)
        for name, leaf in leaves.items()
    }


def _is_on_host(leaf: Any) -> bool:
    """Whether numpy reads it as fast as a compiled program would."""
    if not isinstance(leaf, jax.Array):
        return True
    return leaf.is_fully_addressable and all(
        device.platform == "cpu" for device in leaf.devices()
    )


def _chunks(leaf: Any) -> Iterator[tuple[int, np.ndarray]]:
    """(place of the first number, numbers in this machine's order of bytes)."""
    array = np.asarray(leaf)
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1)
    for start in range(0, flat.size, CHUNK):
        yield start, flat[start : start + CHUNK]
