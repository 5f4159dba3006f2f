"""The batch plan: which sessions make the batch of step s, design 4.

A batch comes from one bucket (turns, height, width), so that it has one shape. An epoch
holds every session once: the last batch of a bucket is filled up with empty places,
which weigh nothing. What step s gets is a pure function of (dataset, seed, s). Beside
the column that names each session's bucket the plan keeps next to nothing: the order of
an epoch is computed, and the r-th session of a bucket is found by counting.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from anchoredit_jax.data.permutation import key_of, permute
from anchoredit_jax.errors import UserError

EMPTY = -1  # a place of a batch without a session
_BLOCK = 2**16  # sessions whose buckets are counted together


class PlannedBatch(NamedTuple):
    """What one step reads.

    Attributes:
      epoch: how often all sessions were seen before.
      bucket: all of them are of this one.
      sessions: int64 [B], indices into the dataset, `EMPTY` at the end where the bucket
        has no more.
    """

    epoch: int
    bucket: int
    sessions: np.ndarray


class BatchPlan:
    """Batches of any step, in any order.

    Attributes:
      sizes: int64 [buckets], sessions of each bucket.
      batches: int64 [buckets], batches that an epoch takes from each.
      steps_per_epoch: all of them together.
    """

    def __init__(
        self,
        bucket_of: np.ndarray,
        buckets: int,
        batch: int,
        seed: int = 0,
        fingerprint: str = "",
    ):
        """
        Args:
          bucket_of: the bucket of every session, unsigned integers below `buckets`;
            `buckets` itself for a session that is left out. May be a mapped file.
          batch: B.
          seed, fingerprint: of the order; the latter names the dataset.

        Raises:
          UserError: no session is in any bucket, or a batch of less than 1.
        """
        if batch < 1:
            raise UserError(f"a batch must hold 1 session or more, got {batch}")
        self._bucket_of = bucket_of
        self._batch = batch
        self._name = (fingerprint, seed)
        blocks = -(-len(bucket_of) // _BLOCK)
        counts = np.zeros((blocks + 1, buckets), np.int64)
        for block in range(blocks):
            part = bucket_of[block * _BLOCK : (block + 1) * _BLOCK]
            counts[block + 1] = np.bincount(part, minlength=buckets + 1)[:buckets]
        self._before = counts.cumsum(0)  # sessions of a bucket before each block
        self.sizes = self._before[-1]
        self.batches = -(-self.sizes // batch)
        self.steps_per_epoch = int(self.batches.sum())
        if not self.steps_per_epoch:
            raise UserError("there are no sessions to make batches of")

    def __getitem__(self, step: int) -> PlannedBatch:
        """The batch of step 0, 1, .. without end."""
        if step < 0:
            raise IndexError(f"step {step} is before the first one")
        epoch, place = divmod(int(step), self.steps_per_epoch)
        place = int(permute(place, self.steps_per_epoch, self._key(epoch, "order")))
        ends = self.batches.cumsum()
        bucket = int(np.searchsorted(ends, place, side="right"))
        number = place - int(ends[bucket] - self.batches[bucket])
        size = int(self.sizes[bucket])
        first = number * self._batch
        ranks = np.arange(first, min(first + self._batch, size))
        ranks = permute(ranks, size, self._key(epoch, bucket))
        sessions = np.full(self._batch, EMPTY, np.int64)
        sessions[: len(ranks)] = [self._find(bucket, int(rank)) for rank in ranks]
        return PlannedBatch(epoch, bucket, sessions)

    def _key(self, *what: object) -> int:
        return key_of(*self._name, *what)

    def _find(self, bucket: int, rank: int) -> int:
        """Index of a bucket's session number `rank`, in the order of the dataset."""
        before = self._before[:, bucket]
        block = int(np.searchsorted(before, rank, side="right")) - 1
        start = block * _BLOCK
        part = self._bucket_of[start : start + _BLOCK]
        return start + int(np.flatnonzero(part == bucket)[rank - int(before[block])])


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How the sessions of one bucket fill batches.

    Attributes:
      sessions, batches: of an epoch.
      empty: places of its last batch that stay empty.
    """

    sessions: int
    batches: int
    empty: int

    @property
    def never_full(self) -> bool:
        """Whether no batch of this bucket is ever full."""
        return self.batches == 1 and self.empty > 0


def coverage(plan: BatchPlan, batch: int) -> list[Coverage]:
    """One entry a bucket, those without sessions included."""
    return [
        Coverage(int(size), int(batches), int(batches * batch - size))
        for size, batches in zip(plan.sizes, plan.batches, strict=True)
    ]
