"""Charts as SVG: of each measure a faint line of extremes, a clear one of means."""

import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np

from anchoredit_jax.watching.axis import Axis, Span
from anchoredit_jax.watching.records import Curve
from anchoredit_jax.watching.scales import Scale, short
from anchoredit_jax.watching.thinning import smooth, thin

# In tenths of a pixel, so that paths are whole numbers.
WIDTH, HEIGHT = 4000, 1800
LEFT, RIGHT, TOP, BOTTOM = 460, 3960, 60, 1640
DOTTED = 40  # points of a stage, up to which each is a dot
_LETTER = 56  # width of one


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Attributes:
      number: of its measure in the chart.
      colour: as CSS writes it.
      workdir: 0 or 1; the second one's lines are dashed.
      stages: stage -> its curve there.
    """

    number: int
    colour: str
    workdir: int
    stages: dict[str, Curve]


def draw_chart(
    title: str,
    lines: Sequence[Line],
    axis: Axis,
    scale: Scale,
    factor: float,
    columns: int,
    changes: Sequence[tuple[str, int, str]] = (),
) -> str:
    """The SVG element.

    Args:
      title: what it shows, for those who cannot see it.
      factor: of the numbers beside the axis.
      columns: how many parts the axis is thinned to.
      changes: (stage, step, text) of settings that are others from then on.
    """
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'data-view="{escape(axis.name)}" aria-label="{escape(title)}" '
        f'data-scale="{scale.low:.9g} {scale.high:.9g} '
        f'{int(scale.log)}"{" hidden" if axis.name else ""}>'
    ]
    for mark in scale.marks(factor):
        y = _down(scale.height(mark))
        parts.append(
            f'<path class="grid" d="M{LEFT} {y}H{RIGHT}"/><text x="{LEFT - 50}" '
            f'y="{y + 33}" text-anchor="end">{short(mark * factor)}</text>'
        )
    parts.extend(_below(span, number, axis) for number, span in enumerate(axis.spans))
    for stage, step, text in changes:
        span = axis.span(stage)
        if span is not None and step <= span.last:
            parts.append(
                f'<path class="change" d="M{_across(span.place(step))} {TOP}V{BOTTOM}">'
                f"<title>{escape(text)}</title></path>"
            )
    parts.extend(_paths(line, axis, scale, columns) for line in lines)
    parts.append(f'<path class="cursor" d="M0 {TOP}V{BOTTOM}" hidden /></svg>')
    return "".join(parts)


def _below(span: Span, number: int, axis: Axis) -> str:
    """A stage's ground, and its name or, where it is alone, its steps below."""
    left, right = int(_across(span.left)), int(_across(span.right))
    if len(axis.spans) == 1:
        marks = (0, span.last // 2, span.last)
        anchors = ("start", "middle", "end")
        return "".join(
            f'<text x="{_across(span.place(step))}" y="{BOTTOM + 130}" '
            f'text-anchor="{anchor}">{step:,}</text>'
            for step, anchor in zip(marks, anchors, strict=True)
        )
    name = span.stage.replace("_", " ")
    room = (right - left) // _LETTER
    if len(name) > room:
        words = name.split()
        several = "".join(word[:1] for word in words)
        name = several if len(words) > 1 else f"{name[: room - 1]}…"
    return (
        f'<rect class="{"odd" if number % 2 else "even"}" x="{left}" y="{TOP}" '
        f'width="{right - left}" height="{BOTTOM - TOP}"><title>{escape(span.stage)}'
        f'</title></rect><text x="{(left + right) // 2}" y="{BOTTOM + 130}" '
        f'text-anchor="middle">{escape(name)}</text>'
    )


def _paths(line: Line, axis: Axis, scale: Scale, columns: int) -> str:
    faint, clear, dots = [], [], []
    for span in axis.spans:
        curve = line.stages.get(span.stage)
        if curve is None:
            continue
        x, y = span.place(curve.steps), curve.values
        kept = thin(x, y, columns)
        drawn = _points(x[kept], y[kept], scale)
        if len(x) <= DOTTED:
            clear.append(_path(drawn))
            dots.extend(f"M{across} {down}h0" for across, down in drawn)
        else:
            faint.append(_path(drawn))
            clear.append(_path(_points(*smooth(x, y, columns), scale)))
    kinds = {"faint": faint, "clear": clear, "dots": dots}
    paths = "".join(
        f'<path class="{kind}" d="{"".join(d)}"/>' for kind, d in kinds.items() if d
    )
    return (
        f'<g class="w{line.workdir}" style="--c:{line.colour}" '
        f'data-line="{line.number}" data-workdir="{line.workdir}">{paths}</g>'
    )


def _points(x: np.ndarray, y: np.ndarray, scale: Scale) -> list[list[int]]:
    return np.stack([_across(x), _down(scale.height(y))], axis=1).tolist()


def _across(x: np.ndarray | float) -> np.ndarray:
    return np.rint(LEFT + (RIGHT - LEFT) * np.asarray(x)).astype(np.int64)


def _down(height: np.ndarray | float) -> np.ndarray:
    return np.rint(BOTTOM - (BOTTOM - TOP) * np.asarray(height)).astype(np.int64)


def _path(points: list[list[int]]) -> str:
    """Whole numbers, the first absolute and the others from one to the next."""
    (x, y), *rest = points
    text = [f"M{x} {y}l"] if rest else [f"M{x} {y}h0"]
    for across, down in rest:
        text.append(f"{across - x} {down - y} ")
        x, y = across, down
    return "".join(text).replace(" -", "-").rstrip()
