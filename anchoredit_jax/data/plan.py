"""The batch plan: which samples make the batch of step s (docs/method.md, Determinism).

A batch comes from one bucket, so that it has one shape. An epoch holds every sample
once: the last batch of a bucket is filled up with empty places, which weigh nothing.
What step s gets is a pure function of (dataset, seed, s), and computed when asked for:
what the samples of a bucket are, `pairs` and `chains` know.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.permutation import permute
from anchoredit_jax.errors import UserError

EMPTY = -1  # a place of a batch without a sample


class PlannedBatch(NamedTuple):
    """The samples that one step reads.

    Attributes:
      epoch: how often all samples were seen before.
      bucket: all of them are of this one.
      samples: int64 [B], numbers in the bucket, `EMPTY` at the end where it has no
        more.
    """

    epoch: int
    bucket: int
    samples: np.ndarray


class BatchPlan:
    """Batches of any step, in any order.

    Attributes:
      sizes: int64 [buckets], samples of each bucket.
      batches: int64 [buckets], batches that an epoch takes from each.
      steps_per_epoch: all of them together.
    """

    def __init__(
        self, sizes: Sequence[int], batch: int, seed: int = 0, fingerprint: str = ""
    ):
        """
        Args:
          sizes: samples of each bucket in an epoch.
          batch: B.
          seed, fingerprint: what the order follows from; the latter names the dataset.

        Raises:
          UserError: no bucket has a sample, or a batch of less than 1.
        """
        if batch < 1:
            raise UserError(f"a batch must hold 1 sample or more, got {batch}")
        self._batch = batch
        self._name = (fingerprint, seed)
        self.sizes = np.array(sizes, np.int64)
        self.batches = -(-self.sizes // batch)
        self.steps_per_epoch = int(self.batches.sum())
        if not self.steps_per_epoch:
            raise UserError("there are no sessions to make batches of")

    def __getitem__(self, step: int) -> PlannedBatch:
        """The batch of step 0, 1, .. without end."""
        if step < 0:
            raise IndexError(f"step {step} is before the first one")
        epoch, place = divmod(int(step), self.steps_per_epoch)
        place = permute(place, self.steps_per_epoch, self._key(epoch, "order"))
        ends = self.batches.cumsum()
        bucket = int(np.searchsorted(ends, place, side="right"))
        number = place - int(ends[bucket] - self.batches[bucket])
        size = int(self.sizes[bucket])
        first = number * self._batch
        key, places = self._key(epoch, bucket), range(first, first + self._batch)
        samples = [permute(i, size, key) if i < size else EMPTY for i in places]
        return PlannedBatch(epoch, bucket, np.array(samples, np.int64))

    def _key(self, *what: object) -> int:
        return key_of(*self._name, *what)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How the samples of one bucket fill batches.

    Attributes:
      samples, batches: how many an epoch has.
      empty: places of its last batch that stay empty.
    """

    samples: int
    batches: int
    empty: int

    @property
    def never_full(self) -> bool:
        """Whether no batch of this bucket is ever full."""
        return self.batches == 1 and self.empty > 0


def coverage(plan: BatchPlan, batch: int) -> list[Coverage]:
    """Count each bucket's samples and batches; buckets without samples are included."""
    return [
        Coverage(int(size), int(batches), int(batches * batch - size))
        for size, batches in zip(plan.sizes, plan.batches, strict=True)
    ]
