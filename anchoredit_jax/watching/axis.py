"""The time line: the stages of one or two workdirs, one after the other."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from anchoredit_jax.watching.records import WorkdirRecord, order_of

NARROWEST = 0.12  # of the time line, a stage's part: a short one stays readable


@dataclasses.dataclass(frozen=True)
class Span:
    """A stage's part of an axis: its steps 0..last lie from left to right, 0 to 1."""

    stage: str
    last: int
    left: float
    right: float

    def place(self, steps: np.ndarray | int) -> np.ndarray:
        """Where steps lie on the axis."""
        share = np.asarray(steps, np.float64) / max(self.last, 1)
        return self.left + (self.right - self.left) * share


@dataclasses.dataclass(frozen=True)
class Axis:
    """Steps from left to right, of all stages (`name` is "") or of one."""

    name: str
    spans: tuple[Span, ...]

    def span(self, stage: str) -> Span | None:
        return next((span for span in self.spans if span.stage == stage), None)


def make_axes(workdirs: Sequence[WorkdirRecord]) -> list[Axis]:
    """The axis of all stages that have rows; behind it, where these are several, an
    axis of each. In two workdirs a stage has the same place, its steps too.
    """
    last: dict[str, int] = {}
    for stage in (stage for workdir in workdirs for stage in workdir.stages):
        if stage.curves:
            last[stage.name] = max(stage.step, last.get(stage.name, 0))
    names = sorted(last, key=order_of)
    total = max(sum(last.values()), 1)
    widths = [max(last[name] / total, NARROWEST) for name in names]
    edges = np.cumsum([0, *widths]) / max(sum(widths), NARROWEST)
    spans = [
        Span(name, last[name], float(left), float(right))
        for name, left, right in zip(names, edges, edges[1:], strict=False)
    ]
    alone = [Axis(name, (Span(name, last[name], 0.0, 1.0),)) for name in names]
    return [Axis("", tuple(spans)), *(alone if len(alone) > 1 else [])]
