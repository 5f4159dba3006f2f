"""The pictures of an evaluation: curves over the turns, and sheets of frames."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Plot
from matplotlib.lines import Line2D
from PIL import Image

from anchoredit_jax.evaluation.cases import SPRITE_MEASURES
from anchoredit_jax.evaluation.measures import (
    MEASURES,
    RETURNS,
    TONE,
    describe_features,
)
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.runs import JUDGE_MEASURES, Part, PolicyRun
from anchoredit_jax.evaluation.table import Measure
from anchoredit_jax.session.contact_sheet import SheetRow, draw_sheet, stack_sheets
from anchoredit_jax.web_page import COLOURS

SHEET_SESSIONS = 4
_MARKERS = "osD^vX"
Marks = Callable[[PolicyRun, int], Sequence[bool | None]]


@dataclasses.dataclass(frozen=True)
class Figure:
    """Measures that stand together.

    Attributes:
      name, title: what the figure is called in file names, and above itself.
      measures: a panel each.
      with_truth: whether the ground truth has a line of its own: instructions change
        colours too, and only what differs from it is drift.
    """

    name: str
    title: str
    measures: tuple[Measure, ...]
    with_truth: bool = False


SPRITES = Figure("edits", "edits and subject", SPRITE_MEASURES)
FIGURES = (
    SPRITES,
    Figure("identity", "identity", tuple(m for m in MEASURES if m not in TONE)),
    Figure("colour", "colour and sharpness against the source", TONE, with_truth=True),
    Figure("returns", "returns to earlier states", RETURNS),
    Figure("judge", "the judge's scores", JUDGE_MEASURES),
)


def figures_of(extractors: Sequence[str]) -> tuple[Figure, ...]:
    """`FIGURES`, and one of the extractors of these names."""
    features = tuple(m for name in extractors for m in describe_features(name))
    if not features:
        return FIGURES
    return (*FIGURES, Figure("features", "similarity of features", features))


def draw_turns(
    out: Path,
    part: Part,
    report: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, PolicyRun]],
) -> dict[str, list[Path]]:
    """Write the curves and the contact sheets of a part with results over the turns.

    Args:
      report: what report.json holds.
      runs: checkpoint -> policy -> run.

    Returns:
      heading -> files, in the order of a report.
    """
    sheets = []
    for label, policies in runs.items():
        sheets.append(out / f"sheet_{part.name}_{label}.png")
        sheet(policies).save(sheets[-1])
    curves = _drift_curves(out, report, part.name)
    return {f"{part.title}: drift": curves, f"{part.title}: frames": sheets}


def draw_stills(
    out: Path, part: Part, results: Mapping[str, Any]
) -> dict[str, list[Path]]:
    """Write the picture that a part has of each checkpoint's result, if it has one."""
    files: list[Path] = []
    for label, result in results.items() if part.picture else ():
        files.append(out / f"{part.name}{f'_{label}' if files else ''}.png")
        part.picture(result).save(files[-1])
    return {part.title: files}


def sheet(runs: Mapping[str, PolicyRun], sessions: int = SHEET_SESSIONS) -> Image.Image:
    """The first sessions of every shape: the truth, if known, and one row per policy.

    A frame of a sprite session is green where the edit succeeded, red where not.

    Args:
      runs: policy name -> run, all of the same cases.
    """
    run = next(iter(runs.values()))
    in_turn = itertools.chain(*itertools.zip_longest(*run.by_shape().values()))
    rows = [row for row in in_turn if row is not None][:sessions]
    return stack_sheets(
        [draw_session(runs, row, _succeeded, run.cases[row].name) for row in rows]
    )


def _succeeded(run: PolicyRun, row: int) -> Sequence[bool | None]:
    if run.scores is None:
        return ()
    return (None, *(bool(success) for success in run.scores.success[row]))


def draw_session(
    runs: Mapping[str, PolicyRun], row: int, marks: Marks, title: str, cell: int = 96
) -> Image.Image:
    """One session: the truth, if known, and a line per policy; see `draw_sheet`.

    Args:
      runs: policy name -> run, all of the same cases.
      marks: of the frames of a run's session.
    """
    case = next(iter(runs.values())).cases[row]
    rows = []
    if case.read_truth is not None:
        rows.append(SheetRow("ground truth", _small(case.read_truth())))
    for name, run in runs.items():
        rows.append(
            SheetRow(policy_title(name), _small(run.frames(row)), marks(run, row))
        )
    texts = [text or "(no instruction)" for text in case.instructions]
    captions = ["source image", *(f"{i}. {text}" for i, text in enumerate(texts, 1))]
    return draw_sheet(rows, captions, title=title, cell=cell)


def _drift_curves(out: Path, report: Mapping[str, Any], part: str) -> list[Path]:
    """A figure a checkpoint, and one a policy where there are several checkpoints."""
    results, truth = report[part], report["truth"]
    series_of = {
        label: {policy_title(name): r["per_turn"] for name, r in policies.items()}
        for label, policies in results.items()
    }
    if len(results) > 1:
        for policy in next(iter(results.values())):
            series_of[f"by_checkpoint_{policy}"] = {
                label: policies[policy]["per_turn"]
                for label, policies in results.items()
            }
    drawn = []
    for name, series in series_of.items():
        for figure in figures_of(report["instruments"]["extractors"]):
            lines = dict(series)
            if figure.with_truth and part in truth:
                lines["ground truth"] = truth[part]["per_turn"]
            path = out / f"drift_{part}_{figure.name}_{name}.png"
            title = f"{name.replace('_', ' ')}: {figure.title}"
            if plot_drift(lines, figure.measures, path, title):
                drawn.append(path)
    return drawn


def _small(frames: np.ndarray, side: int = 192) -> np.ndarray:
    """uint8 [T, H, W, 3], large ones made smaller: a page holds many of them."""
    if max(frames.shape[1:3]) <= side:
        return frames
    scale = side / max(frames.shape[1:3])
    size = tuple(max(round(scale * length), 1) for length in frames.shape[2:0:-1])
    method = Image.Resampling.LANCZOS
    return np.stack([Image.fromarray(frame).resize(size, method) for frame in frames])


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
    figure = Plot(figsize=(4 * columns, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    styles = [
        {
            "color": COLOURS[number % len(COLOURS)],
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
