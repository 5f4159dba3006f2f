"""Permutations that are computed, not stored: of 100 million numbers in no memory.

A Feistel network is a bijection of the numbers of an even count of bits, whatever its
round function; numbers that fall outside of the range wanted are sent through again
until they fall inside. The same key gives the same permutation on every machine.
"""

import hashlib

import numpy as np

ROUNDS = 6


def key_of(*parts: object) -> int:
    """64 bits that name the given values; equal values, equal bits."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def uniform_of(*parts: object) -> float:
    """A number in [0, 1) that follows from the given values."""
    return (key_of(*parts) >> 11) * 2.0**-53


def permute(numbers: np.ndarray | int, size: int, key: int) -> np.ndarray:
    """Where a permutation of 0 .. size - 1 sends `numbers`.

    Args:
      numbers: integers in [0, size), any shape.
      size: at least 1 and below 2**62.
      key: names the permutation, see `key_of`.

    Returns:
      int64, in [0, size), of the same shape.
    """
    numbers = np.asarray(numbers, np.int64)
    if numbers.size and not (0 <= numbers.min() and numbers.max() < size):
        raise ValueError(f"numbers to permute must be in [0, {size})")
    half = max(((size - 1).bit_length() + 1) // 2, 1)
    rounds = [np.uint64(key_of(key, index)) for index in range(ROUNDS)]
    flat = _feistel(numbers.reshape(-1).astype(np.uint64), half, rounds)
    while (outside := flat >= size).any():
        flat[outside] = _feistel(flat[outside], half, rounds)
    return flat.astype(np.int64).reshape(numbers.shape)


def _feistel(numbers: np.ndarray, half: int, rounds: list[np.uint64]) -> np.ndarray:
    mask, bits = np.uint64(2**half - 1), np.uint64(half)
    left, right = numbers >> bits, numbers & mask
    for key in rounds:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << bits) | right


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: every bit depends on every bit."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
