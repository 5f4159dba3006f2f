"""Groups of sessions: those of one image size and one number of turns.

All that a plan keeps of a hundred million sessions is a column that names each one's
group, and counts by block: the r-th session of a group is found by counting.
"""

import dataclasses

import numpy as np

from anchoredit_jax.data.buckets import BucketConfig, Size, nearest_bucket
from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.data.session_buckets import bucket_table
from anchoredit_jax.errors import UserError

_CHUNK = 2**20  # sessions whose sizes are told apart at a time
_BLOCK = 2**16  # sessions that are counted together; more where groups are many
_COUNTS = 2**17  # kept at most: a megabyte


@dataclasses.dataclass(frozen=True)
class Groups:
    """The group of every session: those of one image size and number of turns.

    Attributes:
      shapes: (turns, (height, width)) of each group: all turns that a session has, and
        the size of the bucket that its images are cut to.
      of_session: the group of every session; `len(shapes)` for those left out.
    """

    shapes: tuple[tuple[int, Size], ...]
    of_session: np.ndarray

    def without(self, gone: np.ndarray) -> "Groups":
        """The same groups, bool [sessions] of them left out."""
        if not gone.any():
            return self
        out = self.of_session.dtype.type(len(self.shapes))
        return Groups(self.shapes, np.where(gone, out, self.of_session))


def group_sessions(
    turns: np.ndarray,
    height: np.ndarray,
    width: np.ndarray,
    size: int,
    unit: int,
    config: BucketConfig,
) -> Groups:
    """Group sessions by the bucket of their source image and their number of turns.

    Args:
      turns, height, width: columns; sessions of 0 turns are left out.
      size: side of the square whose area the buckets have, pixels.
      unit: side of a token, pixels.

    Raises:
      UserError: sizes that do not fit, or all sessions are left out.
    """
    table = bucket_table(size, unit, config)
    number_of = {bucket: i for i, bucket in enumerate(table)}
    lengths = 256  # turns are bytes
    known: dict[int, int] = {}
    codes = np.zeros(len(turns), np.uint32)
    for start in range(0, len(turns), _CHUNK):
        part = slice(start, start + _CHUNK)
        sizes = height[part].astype(np.uint32) << 16 | width[part].astype(np.uint32)
        unique, inverse = np.unique(sizes, return_inverse=True)
        for code in unique.tolist():
            if code not in known:
                image = divmod(code, 2**16)
                known[code] = number_of[nearest_bucket(image, table, config.rule)]
        bucket = np.array([known[code] for code in unique.tolist()], np.uint32)
        codes[part] = bucket[inverse] * lengths + turns[part]
    used = [code for code in np.unique(codes).tolist() if code % lengths]
    if not used:
        raise UserError("no session has a turn to train on")
    renumbered = np.full(len(table) * lengths, len(used), np.min_scalar_type(len(used)))
    renumbered[used] = np.arange(len(used))
    return Groups(
        tuple((code % lengths, table[code // lengths]) for code in used),
        renumbered[codes],
    )


def group_prepared(
    sessions: PreparedSessions, config: DataConfig, stride: int, patch: int
) -> Groups:
    """The groups of a prepared dataset, the same in every stage and layout.

    Args:
      stride: of the codec.
      patch: side in latents of a token: sizes are whole tokens.

    Raises:
      UserError: sizes that do not fit.
    """
    return group_sessions(
        sessions.turns, sessions.height, sessions.width, config.size, stride * patch,
        config.sessions.buckets,
    )  # fmt: skip


class Members:
    """The sessions of each group, by rank.

    Attributes:
      sizes: int64 [groups], sessions of each.
    """

    def __init__(self, of_session: np.ndarray, groups: int):
        """
        Args:
          of_session: see `Groups`; may be a mapped file.
          groups: how many there are.
        """
        self._of_session = of_session
        self._block = _BLOCK
        while -(-len(of_session) // self._block) * groups > _COUNTS:
            self._block *= 2
        blocks = -(-len(of_session) // self._block)
        counts = np.zeros((blocks + 1, groups), np.int64)
        for block in range(blocks):
            part = of_session[block * self._block : (block + 1) * self._block]
            counts[block + 1] = np.bincount(part, minlength=groups + 1)[:groups]
        self._before = counts.cumsum(0)  # sessions of a group before each block
        self.sizes = self._before[-1]

    def find(self, group: int, rank: int) -> int:
        """Index of a group's session number `rank`, in the order of the dataset."""
        before = self._before[:, group]
        block = int(np.searchsorted(before, rank, side="right")) - 1
        start = block * self._block
        part = self._of_session[start : start + self._block]
        return start + int(np.flatnonzero(part == group)[rank - int(before[block])])
