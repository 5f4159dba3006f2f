"""Which checkpoints stay, and what they take on the disk."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    EveryNSteps,
    LatestN,
    PreservationPolicy,
)

from anchoredit_jax.run_config import LoopConfig


@dataclasses.dataclass
class Best(PreservationPolicy):
    """Keeps the `count` best steps by a measure, those of equal ones the earlier.

    Orbax's own `BestN` wants a file of metrics in every checkpoint. Here they come from
    the rows of `metrics.jsonl`, which a resumed run reads again.

    Attributes:
      measures: step -> its value; a step without one is not among the best.
      largest: whether large ones are the best.
    """

    count: int
    measures: Mapping[int, float]
    largest: bool = False

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any
    ) -> Sequence[bool]:
        there = [info.step for info in checkpoints if info.step in self.measures]
        sign = -1 if self.largest else 1
        there.sort(key=lambda step: (sign * self.measures[step], step))
        best = set(there[: self.count])
        return [info.step in best for info in checkpoints]


def policy_of(loop: LoopConfig, measures: Mapping[int, float]) -> PreservationPolicy:
    """Keep what any of `loop`'s rules keeps.

    Args:
      measures: values of `loop.best_by` by step; may grow while the policy is in use.
    """
    rules: list[PreservationPolicy] = [LatestN(loop.keep)]
    if loop.keep_every is not None:
        rules.append(EveryNSteps(loop.keep_every))
    if loop.keep_best:
        rules.append(Best(loop.keep_best, measures, loop.best_mode == "max"))
    return AnyPreservationPolicy(rules)


def measures_of(
    rows: Sequence[Mapping[str, Any]], loop: LoopConfig
) -> dict[int, float]:
    """Step -> value of `loop.best_by`, of the rows that have a finite one."""
    found = {}
    for row in rows:
        value = row.get(loop.best_by)
        if isinstance(value, int | float) and math.isfinite(value):
            found[row["step"]] = float(value)
    return found


def checkpoints_on_disk(loop: LoopConfig) -> int:
    """The most checkpoints that lie on the disk at once; the newest is whole before an
    older one goes."""
    saved = -(-loop.steps // loop.checkpoint_every)
    if loop.keep is None:
        return saved
    every = loop.keep_every and math.lcm(loop.keep_every, loop.checkpoint_every)
    kept = loop.keep + loop.keep_best + (loop.steps // every if every else 0)
    return min(saved, kept + 1)


def state_bytes(abstract: Any) -> int:
    """Bytes of the arrays of a state, of arrays or shapes: those of one checkpoint.

    Orbax compresses: it may be less on the disk.
    """
    return sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(abstract)
    )
