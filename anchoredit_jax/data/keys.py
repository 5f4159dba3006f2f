"""Hashes of values as numbers: what names a draw decides it, on every machine."""

from anchoredit_jax.files import blake2b


def key_of(*parts: object) -> int:
    """64 bits that name the given values; equal values, equal bits."""
    return int(blake2b("\x1f".join(str(part) for part in parts).encode()), 16)


def uniform_of(*parts: object) -> float:
    """A number in [0, 1) that follows from the given values."""
    return (key_of(*parts) >> 11) * 2.0**-53
