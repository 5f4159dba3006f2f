"""Which prepared sessions are kept out of training, and shown while it goes on.

A session is held out by the hash of its name, so it stays so when a dataset grows, and
whatever the order of its parts.
"""

import dataclasses

import numpy as np

from anchoredit_jax.data.groups import Groups, Members
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


def without(groups: Groups, chosen: np.ndarray) -> Members:
    """The sessions of each group that are not chosen."""
    count = len(groups.shapes)
    if not chosen.any():
        return Members(groups.of_session, count)
    return Members(
        np.where(chosen, groups.of_session.dtype.type(count), groups.of_session), count
    )


def first_held_out(
    sessions: PreparedSessions, groups: Groups, fraction: float, most: int
) -> HeldOutGroup | None:
    """The first `most` held-out sessions of the size that has the most of them, so that
    one program serves them all; None where there are none."""
    chosen = held_out(sessions, fraction)
    numbers = np.flatnonzero(chosen & (groups.of_session < len(groups.shapes)))
    if not len(numbers):
        return None
    sizes = [groups.shapes[group][1] for group in groups.of_session[numbers].tolist()]
    size = max(sorted(set(sizes)), key=sizes.count)
    found = [n for n, own in zip(numbers.tolist(), sizes, strict=True) if own == size]
    keys = {n: sessions.key_of(n) for n in found}
    return HeldOutGroup(size, tuple(sorted(found, key=keys.__getitem__)[:most]))
