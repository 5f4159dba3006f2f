"""Long curves made short for a page: extremes and means by column of pixels."""

import numpy as np


def thin(x: np.ndarray, y: np.ndarray, columns: int) -> np.ndarray:
    """Which points of a curve to draw, so that it looks as with all of them.

    Of every column the least and the greatest value, and of the curve both its ends.

    Args:
      x: [n], ascending, from 0 to 1.
      y: [n].

    Returns:
      ascending indices, 2 for each column and 2 more at most.
    """
    column = _columns(x, columns)
    first = _starts(column)
    counts = np.diff(np.append(first, len(x)))
    kept = [np.array([0, len(x) - 1])]
    for extreme in (np.minimum, np.maximum):
        of_column = np.repeat(extreme.reduceat(y, first), counts)
        found = np.flatnonzero(y == of_column)  # of equals the first one stays
        kept.append(found[_starts(column[found])])
    return np.unique(np.concatenate(kept))


def smooth(x: np.ndarray, y: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of a running mean over about a sixteenth of the curve, a point a column.

    Args:
      x: [n], ascending, from 0 to 1.
      y: [n].
    """
    first = _starts(_columns(x, columns))
    counts = np.diff(np.append(first, len(x)))
    half = len(first) // 32
    window = np.ones(2 * half + 1)

    def mean(values: np.ndarray, around: np.ndarray) -> np.ndarray:
        sums = np.convolve(np.add.reduceat(values, first), around)
        total = np.convolve(counts, around)
        cut = slice(len(around) // 2, len(around) // 2 + len(first))
        return sums[cut] / total[cut]

    return mean(x, np.ones(1)), mean(y, window)


def _columns(x: np.ndarray, columns: int) -> np.ndarray:
    return np.minimum((x * columns).astype(np.int64), columns - 1)


def _starts(column: np.ndarray) -> np.ndarray:
    """Where each column's points begin."""
    return np.flatnonzero(np.diff(column, prepend=-1))
