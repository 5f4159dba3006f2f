"""Drift curves: a score over the turns, one line per policy or checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from anchoredit_jax.evaluation.measures import Measure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = "osD^vX"


def plot_drift(
    series: Mapping[str, Mapping[str, list]],
    measures: Sequence[Measure],
    path: Path,
    title: str = "",
) -> bool:
    """Write a figure with a panel a measure, lines with 95 % confidence bands.

    Args:
      series: label -> the "per_turn" of `summarise`.
      measures: in the order of the panels; those without any value are left out.
      path: of the picture; its ending decides the format (png, svg, pdf).

    Returns:
      whether there was anything to draw.
    """
    shown = [m for m in measures if any(_known(s.get(m.name)) for s in series.values())]
    if not shown:
        return False
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    styles = [
        {
            "color": _COLOURS[number % len(_COLOURS)],
            "marker": _MARKERS[number % len(_MARKERS)],
        }
        for number in range(len(series))
    ]
    for axis, measure in zip(axes, shown):  # noqa: B905  (empty places at the end)
        for per_turn, style in zip(series.values(), styles, strict=True):
            if measure.name in per_turn:
                _draw_line(axis, per_turn[measure.name], style)
        axis.set_title(measure.heading, fontsize=11)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlabel("turn")
        if measure.limits:
            axis.set_ylim(*measure.limits)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    turns = max(len(values) for s in series.values() for values in s.values())
    axes[0].set_xticks(sorted({1, *range(2, turns + 1, 2 if turns > 6 else 1)}))
    figure.legend(
        [Line2D([], [], markersize=4, linewidth=1.8, **style) for style in styles],
        list(series),
        loc="outside lower center",
        ncols=min(columns, len(series)),
        frameon=False,
    )
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=130)
    return True


def _known(values: list[dict] | None) -> bool:
    return any(value["mean"] is not None for value in values or ())


def _draw_line(axis, values: list[dict], style: dict) -> None:
    """Mean and band over the turns 1..; a turn without values leaves a gap."""
    turns = np.arange(1, len(values) + 1)
    mean, low, high = (
        np.array([np.nan if v[key] is None else v[key] for v in values], float)
        for key in ("mean", "low", "high")
    )
    axis.plot(turns, mean, markersize=4, linewidth=1.8, **style)
    axis.fill_between(turns, low, high, color=style["color"], alpha=0.15, linewidth=0)
