"""What the two layouts of prepared sessions share: samples of a bucket, by number.

The samples of a bucket are sections one behind the other, each of so many that share
how they are made. Which sample a number means is computed.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.keys import uniform_of
from anchoredit_jax.data.runs import Run


class Sample(NamedTuple):
    """A part of a session.

    Attributes:
      session: its index.
      part: tells the samples of a session apart.
      run: what is shown of it.
    """

    session: int
    part: int
    run: Run


class Samples(Protocol):
    """The samples of an epoch, by bucket and number.

    Attributes:
      shapes: (turns, (height, width)) of each bucket.
      sizes: how many samples each bucket has.
    """

    shapes: tuple[tuple[int, Size], ...]
    sizes: list[int]

    def sample(self, epoch: int, bucket: int, number: int) -> Sample:
        """Sample `number` of a bucket, in an epoch."""
        ...


@dataclasses.dataclass(frozen=True)
class Sections:
    """Sections with their sizes, one behind the other."""

    entries: tuple
    ends: np.ndarray

    @classmethod
    def of(cls, pairs: Sequence[tuple[object, int]]) -> "Sections":
        """Make sections from the (entry, size) of each."""
        entries, sizes = zip(*pairs, strict=True)
        return cls(entries, np.cumsum(sizes, dtype=np.int64))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def locate(self, number: int) -> tuple:
        """(entry, place in its section) of a number."""
        section = int(np.searchsorted(self.ends, number, side="right"))
        start = int(self.ends[section - 1]) if section else 0
        return self.entries[section], number - start


def share_out(total: int, weights: Sequence[float], *name: object) -> list[int]:
    """How many of `total` go to each of `weights`, which sum to 1.

    As many as the weight says up to one; which way they are rounded follows from
    `name`, so that many small totals keep to the weights together.
    """
    offset = uniform_of(*name)
    bounds = np.floor(np.cumsum(weights)[:-1] * total + offset).astype(np.int64)
    bounds = np.minimum(bounds, total).tolist()
    return np.diff([0, *bounds, total]).tolist()
