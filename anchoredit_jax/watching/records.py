"""What is known of a workdir and its stages, as values."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.stages.table import STAGES


@dataclasses.dataclass(frozen=True)
class Curve:
    """One measure over a stage's steps.

    Attributes:
      steps: int64 [n], ascending, each once.
      values: float64 [n], finite.
    """

    steps: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Change:
    """Settings that are others from a step on: name -> (old, new)."""

    step: int
    settings: Mapping[str, tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """What lies in a stage's folder.

    Attributes:
      curves: measure -> its curve; those with a value at least.
      rows: how many rows of metrics there are.
      written: when the last one was, in seconds since 1970; None without rows.
      config: as nested plain values; empty where none is stored.
      saved: the last committed step; None without a checkpoint.
      parent: the weights it started from, as that checkpoint tells.
      sheets: contact sheets by step, ascending.
      faults: what was left out, a sentence each.
    """

    name: str
    folder: Path
    curves: Mapping[str, Curve]
    rows: int
    written: float | None
    config: Mapping[str, Any]
    saved: int | None
    parent: Lineage | None
    changes: tuple[Change, ...]
    sheets: Mapping[int, Path]
    faults: tuple[str, ...]

    @property
    def step(self) -> int:
        """The last step of a row; 0 without rows."""
        return max((int(curve.steps[-1]) for curve in self.curves.values()), default=0)

    @property
    def steps(self) -> int | None:
        """How many the stage is to have, where its configuration tells."""
        loop = self.config.get("loop")
        steps = loop.get("steps") if isinstance(loop, Mapping) else None
        return steps if type(steps) is int and steps > 0 else None

    @property
    def finished(self) -> bool:
        return self.steps is not None and self.step >= self.steps

    def latest(self, name: str) -> float | None:
        curve = self.curves.get(name)
        return None if curve is None else float(curve.values[-1])


@dataclasses.dataclass(frozen=True)
class WorkdirRecord:
    """A workdir's stages in the order of the curriculum, others behind them by name."""

    name: str
    path: Path
    stages: tuple[StageRecord, ...]

    @property
    def current(self) -> StageRecord | None:
        """The furthest stage that has rows."""
        return next((stage for stage in reversed(self.stages) if stage.curves), None)

    def stage(self, name: str) -> StageRecord | None:
        return next((stage for stage in self.stages if stage.name == name), None)


def order_of(stage: str) -> tuple[int, str]:
    """Sorts stages: those of the curriculum, then others by name."""
    known = list(STAGES)
    return (known.index(stage) if stage in known else len(known), stage)
