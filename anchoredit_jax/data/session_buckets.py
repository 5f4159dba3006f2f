"""Buckets of prepared sessions: which (turns, height, width) each is trained at."""

import dataclasses

import numpy as np

from anchoredit_jax.data.buckets import RULES, Size, make_buckets, nearest_bucket
from anchoredit_jax.data.plan import BatchPlan, coverage
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import result

_CHUNK = 2**20  # sessions whose sizes are told apart at a time


@dataclasses.dataclass(frozen=True)
class BucketConfig:
    """How sessions are grouped.

    Attributes:
      step: pixels that both sides are multiples of; None is the codec's stride times
        the patch.
      max_ratio: of the longer side to the shorter one.
      rule: "log_ratio", or "ratio", that of the reference.
      mix_turns: sessions of all lengths share a bucket, padded to the longest and
        masked; else a batch has one number of turns.
    """

    step: int | None = result(None)
    max_ratio: float = result(4.0)
    rule: str = result("log_ratio")
    mix_turns: bool = result(False)

    def __post_init__(self):
        if self.rule not in RULES:
            raise UserError(
                f"data.buckets.rule must be one of {RULES}, got {self.rule!r}"
            )
        if self.step is not None and self.step < 1:
            raise UserError(f"data.buckets.step must be 1 or more, got {self.step}")


@dataclasses.dataclass(frozen=True)
class Buckets:
    """Every session's bucket.

    Attributes:
      shapes: (turns, (height, width)) of each bucket that has sessions.
      of_session: the bucket of every session; `len(shapes)` for those left out.
    """

    shapes: tuple[tuple[int, Size], ...]
    of_session: np.ndarray


def assign_buckets(
    turns: np.ndarray,
    height: np.ndarray,
    width: np.ndarray,
    size: int,
    step: int,
    max_turns: int,
    config: BucketConfig,
) -> Buckets:
    """Group sessions by the size of their source image and their number of turns.

    Args:
      turns, height, width: columns; sessions of 0 turns are left out.
      size: side of the square whose area the buckets have, pixels.
      step: where the config leaves it open.
      max_turns: N of the longest sequence; of longer sessions the first N turns count.

    Raises:
      UserError: the size is no multiple of the step, or all sessions are left out.
    """
    table = make_buckets((size, size), config.step or step, config.max_ratio)
    number_of = {bucket: i for i, bucket in enumerate(table)}
    lengths = max_turns + 1
    nearest: dict[int, int] = {}
    codes = np.zeros(len(turns), np.uint32)
    for start in range(0, len(turns), _CHUNK):
        part = slice(start, start + _CHUNK)
        sizes = height[part].astype(np.uint32) << 16 | width[part].astype(np.uint32)
        unique, inverse = np.unique(sizes, return_inverse=True)
        for code in unique.tolist():
            if code not in nearest:
                image = divmod(code, 2**16)
                nearest[code] = number_of[nearest_bucket(image, table, config.rule)]
        bucket = np.array([nearest[code] for code in unique.tolist()], np.uint32)
        length = np.minimum(turns[part], max_turns).astype(np.uint32)
        if config.mix_turns:
            length = np.where(length > 0, np.uint32(max_turns), np.uint32(0))
        codes[part] = bucket[inverse] * lengths + length
    used = [code for code in np.unique(codes).tolist() if code % lengths]
    if not used:
        raise UserError("no session has a turn to train on")
    dtype = np.uint8 if len(used) < 2**8 else np.uint16
    renumbered = np.full(len(table) * lengths, len(used), dtype)
    renumbered[used] = np.arange(len(used))
    return Buckets(
        tuple((code % lengths, table[code // lengths]) for code in used),
        renumbered[codes],
    )


def describe_coverage(buckets: Buckets, plan: BatchPlan, batch: int) -> str:
    """What a person should know before training: which buckets never fill a batch."""
    lines = []
    for (turns, (height, width)), entry in zip(
        buckets.shapes, coverage(plan, batch), strict=True
    ):
        told = f"{turns} turns {height} x {width}: {entry.sessions} sessions, "
        told += f"{entry.batches} batches of {batch}"
        if entry.empty:
            told += f", {entry.empty} places empty"
        if entry.never_full:
            told += " (never fills a batch)"
        lines.append(told)
    left_out = int(np.count_nonzero(buckets.of_session == len(buckets.shapes)))
    lines.append(f"{plan.steps_per_epoch} steps an epoch; {left_out} sessions left out")
    return "\n".join(lines)
