"""All charts of the page, by section, each with its key and latest values."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from anchoredit_jax.watching.axis import Axis
from anchoredit_jax.watching.charts import Line, draw_chart
from anchoredit_jax.watching.panels import UNITS, Panel, label_of, panels_of
from anchoredit_jax.watching.records import WorkdirRecord
from anchoredit_jax.watching.scales import make_scale, short
from anchoredit_jax.web_page import COLOURS

COLUMNS = 240  # that a chart is thinned to; about as many pixels lie on a phone
_BUDGET, _COLUMN = 3_500_000, 22  # bytes of all charts, and of one column of a line
_FEWEST = 8
FEW = 4  # lines, up to which each one's extremes are well seen


def draw_sections(
    workdirs: Sequence[WorkdirRecord], axes: Sequence[Axis]
) -> dict[str, str]:
    """Section -> its charts, as markup."""
    names = {n for w in workdirs for stage in w.stages for n in stage.curves}
    panels = [(p, _lines(p, taken, workdirs), taken) for p, taken in panels_of(names)]
    count = sum(len(lines) for _, lines, _ in panels) * len(axes)
    columns = max(_FEWEST, min(COLUMNS, _BUDGET // (_COLUMN * max(count, 1))))
    changes = [
        (stage.name, change.step, _told(workdir.name, change.step, change.settings))
        for workdir in workdirs
        for stage in workdir.stages
        for change in stage.changes
    ]
    together: dict[str, list[Line]] = {}
    for panel, lines, _ in panels:
        together.setdefault(panel.scale or panel.title, []).extend(lines)
    sections: dict[str, str] = {}
    for panel, lines, taken in panels:
        drawn = []
        for axis in axes:
            values = _values(together[panel.scale or panel.title], axis)
            own = [line for line in lines if _values([line], axis)]
            if own:
                scale = make_scale(values, panel.from_zero)
                factor = UNITS[panel.unit][1]
                drawn.append(
                    draw_chart(panel.title, own, axis, scale, factor, columns, changes)
                )
        sections[panel.section] = sections.get(panel.section, "") + _figure(
            panel, taken, lines, drawn
        )
    return sections


def shown(value: float, unit: str) -> str:
    """A measure's value with its unit."""
    text, factor = UNITS[unit]
    return f"{short(value * factor)}{text}"


def _lines(
    panel: Panel, names: Sequence[str], workdirs: Sequence[WorkdirRecord]
) -> list[Line]:
    lines = []
    for number, name in enumerate(names):
        for index, workdir in enumerate(workdirs):
            stages = {
                s.name: s.curves[name] for s in workdir.stages if name in s.curves
            }
            if stages:
                colour = _colour(panel, name, number, len(names))
                lines.append(Line(number, colour, index, stages))
    return lines


def _values(lines: Sequence[Line], axis: Axis) -> list[np.ndarray]:
    return [
        line.stages[span.stage].values
        for line in lines
        for span in axis.spans
        if span.stage in line.stages
    ]


def _colour(panel: Panel, name: str, number: int, count: int) -> str:
    """Colours that are told apart; a row of colours for a row of turns or intervals."""
    if f"{name}/*" in panel.names:  # all of them together
        return "currentColor"
    in_a_row = panel.names[-1].endswith("/*")
    if not in_a_row and count <= len(COLOURS):
        return COLOURS[number]
    return f"hsl({265 - 240 * number / max(count - 1, 1):.0f} 65% 45%)"


def _figure(
    panel: Panel, names: Sequence[str], lines: Sequence[Line], drawn: Sequence[str]
) -> str:
    keys = []
    for number, name in enumerate(names):
        own = [line for line in lines if line.number == number]
        values = "".join(_latest(panel, line) for line in own)
        keys.append(
            f'<li data-line="{number}" style="--c:{own[0].colour}"><i></i>'
            f"{escape(label_of(panel, name))} {values}</li>"
        )
    unit, factor = UNITS[panel.unit]
    many = " many" if len(lines) > FEW else ""
    told = f"<small>{escape(panel.told)}</small>" if panel.told else ""
    return (
        f'<figure class="chart{many}" data-unit="{unit}" data-factor="{factor:.9g}">'
        f"<figcaption><h3>{escape(panel.title)}</h3>{told}</figcaption>"
        f'{"".join(drawn)}<p class="at" aria-live="off"></p>'
        f'<ul class="key">{"".join(keys)}</ul></figure>'
    )


def _latest(panel: Panel, line: Line) -> str:
    stage, curve = list(line.stages.items())[-1]
    where = f"{stage}, step {int(curve.steps[-1]):,}"
    return (
        f'<b class="w{line.workdir}" title="{escape(where)}">'
        f"{shown(float(curve.values[-1]), panel.unit)}</b>"
    )


def _told(workdir: str, step: int, settings: Mapping[str, tuple]) -> str:
    changed = "; ".join(f"{n}: {old} -> {new}" for n, (old, new) in settings.items())
    return f"{workdir}, from step {step:,}: {changed}"
