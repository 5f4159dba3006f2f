"""Permutations that are computed, not stored: of 100 million numbers in no memory."""

from grain.experimental import index_shuffle

ROUNDS = 4  # of the block cipher that makes it, as in Grain's own shuffle


def permute(number: int, size: int, key: int) -> int:
    """Where a permutation of 0 .. size - 1 sends `number`, the same on every machine.

    Args:
      size: At least 1 and below 2**62.
      key: It names the permutation, see `key_of`; its lower 32 bits count.

    Raises:
      ValueError: The number is not in [0, size).
    """
    if not 0 <= number < size:
        raise ValueError(f"numbers to permute must be in [0, {size}), given {number}")
    return index_shuffle(number, size - 1, key % 2**32, ROUNDS)
