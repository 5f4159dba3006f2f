"""Drift curves: a score over the turns, one line per policy or checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

PANELS = (
    ("success", "edit success", (0, 1.03)),
    ("subject_psnr", "subject PSNR (dB)", None),
    ("retrieved", "right subject of 48", (0, 1.03)),
    ("untouched_psnr", "untouched PSNR (dB)", None),
    ("covered_psnr", "PSNR under the cover (dB)", None),
    ("state", "whole state right", (0, 1.03)),
)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = "osD^vX"


def plot_drift(series: Mapping[str, dict], path: Path, title: str = "") -> None:
    """Write a figure of six panels with 95 % confidence bands.

    Args:
      series: label -> the "per_turn" of `summarise`.
      path: of the picture; its ending decides the format (png, svg, pdf).
    """
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True).ravel()
    for axis, (name, label, limits) in zip(axes, PANELS, strict=True):
        for number, per_turn in enumerate(series.values()):
            style = {
                "color": _COLOURS[number % len(_COLOURS)],
                "marker": _MARKERS[number % len(_MARKERS)],
            }
            _draw_line(axis, per_turn[name], style)
        axis.set_title(label, fontsize=11)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if limits:
            axis.set_ylim(*limits)
    for axis in axes[3:]:
        axis.set_xlabel("turn")
    turns = len(next(iter(series.values()))["success"])
    axes[0].set_xticks(sorted({1, *range(2, turns + 1, 2 if turns > 6 else 1)}))
    figure.legend(
        axes[0].get_lines(),
        list(series),
        loc="outside lower center",
        ncols=min(3, len(series)),
        frameon=False,
    )
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=130)


def _draw_line(axis, values: list[dict], style: dict) -> None:
    """Mean and band over the turns 1..; a turn without values leaves a gap."""
    turns = np.arange(1, len(values) + 1)
    mean, low, high = (
        np.array([np.nan if v[key] is None else v[key] for v in values], float)
        for key in ("mean", "low", "high")
    )
    axis.plot(turns, mean, markersize=4, linewidth=1.8, **style)
    axis.fill_between(turns, low, high, color=style["color"], alpha=0.15, linewidth=0)
