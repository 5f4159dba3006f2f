"""Which prepared sessions are kept out of training, and shown while it goes on.

A session is held out by the hash of its name, so it stays so when a dataset grows, and
whatever the order of its parts.
"""

import dataclasses

import numpy as np

from anchoredit_jax.data.groups import Groups
from anchoredit_jax.data.prepared import PreparedSessions


@dataclasses.dataclass(frozen=True)
class HeldOutGroup:
    """Held-out sessions of one image size.

    Attributes:
      size: (height, width) of their images.
      sessions: their numbers in the dataset, in the order of their hashes.
    """

    size: tuple[int, int]
    sessions: tuple[int, ...]


def held_out(sessions: PreparedSessions, fraction: float) -> np.ndarray:
    """Bool [sessions]: whether each is held out; about this share of all is."""
    chosen = np.zeros(len(sessions), bool)
    if fraction:
        for start, keys in sessions.keys():
            chosen[start : start + len(keys)] = keys < fraction * 2.0**64
    return chosen


def first_held_out(
    sessions: PreparedSessions, groups: Groups, fraction: float, most: int
) -> HeldOutGroup | None:
    """The first `most` held-out sessions of the size that has the most of them, so that
    one program serves them all; None where there are none."""
    chosen = held_out(sessions, fraction)
    numbers = np.flatnonzero(chosen & (groups.of_session < len(groups.shapes)))
    if not len(numbers):
        return None
    sizes = sorted({size for _, size in groups.shapes})
    of_group = np.array([sizes.index(size) for _, size in groups.shapes])
    of_session = of_group[groups.of_session[numbers]]
    most_common = np.bincount(of_session).argmax()
    numbers = numbers[of_session == most_common]
    order = np.argsort(_hashes(sessions, numbers))[:most]
    return HeldOutGroup(sizes[most_common], tuple(numbers[order].tolist()))


def _hashes(sessions: PreparedSessions, numbers: np.ndarray) -> np.ndarray:
    """Of the names of sessions, whose numbers ascend."""
    found = np.empty(len(numbers), np.uint64)
    for start, keys in sessions.keys():
        first, stop = np.searchsorted(numbers, [start, start + len(keys)])
        found[first:stop] = keys[numbers[first:stop] - start]
    return found
