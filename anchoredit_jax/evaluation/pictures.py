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
from anchoredit_jax.evaluation.fairness import distinct
from anchoredit_jax.evaluation.measures import (
    MEASURES,
    RETURNS,
    TARGETS,
    TONE,
    describe_features,
    describe_targets,
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


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a report: a PNG file, and what it shows in full sentences."""

    path: Path
    caption: str


SPRITES = Figure("edits", "edits and subject", SPRITE_MEASURES)
FIGURES = (
    SPRITES,
    Figure("identity", "identity", tuple(m for m in MEASURES if m not in TONE)),
    Figure("colour", "colour and sharpness against the source", TONE, with_truth=True),
    Figure("returns", "returns to earlier states", RETURNS),
    Figure("judge", "the judge's scores", JUDGE_MEASURES),
    Figure("targets", "against the targets of the benchmark", TARGETS),
)


def figures_of(extractors: Sequence[str]) -> tuple[Figure, ...]:
    """`FIGURES`, and one of the extractors of these names."""
    if not extractors:
        return FIGURES
    features = tuple(m for name in extractors for m in describe_features(name))
    targets = tuple(m for name in extractors for m in describe_targets(name))
    *others, last = FIGURES
    return (
        *others,
        dataclasses.replace(last, measures=(*last.measures, *targets)),
        Figure("features", "similarity of features", features),
    )


def draw_turns(
    out: Path,
    part: Part,
    report: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, PolicyRun]],
) -> dict[str, list[Picture]]:
    """Write the curves and the contact sheets of a part with results over the turns.

    Args:
      report: what report.json holds.
      runs: checkpoint -> policy -> run.

    Returns:
      heading -> pictures, in the order of a report.
    """
    sheets = []
    for label, policies in runs.items():
        path = out / f"sheet_{part.name}_{label}.png"
        sheet(distinct(policies)).save(path)
        told = f"The first sessions as {label} edited them, a row for every memory."
        sheets.append(Picture(path, told))
    curves = _drift_curves(out, report, part.name)
    return {f"{part.title}: drift": curves, f"{part.title}: frames": sheets}


def draw_stills(
    out: Path, part: Part, results: Mapping[str, Any]
) -> dict[str, list[Picture]]:
    """Write the picture that a part has of each checkpoint's result, if it has one."""
    drawn: list[Picture] = []
    for label, result in results.items() if part.picture else ():
        path = out / f"{part.name}{f'_{label}' if drawn else ''}.png"
        part.picture(result).save(path)
        drawn.append(Picture(path, f"{part.title}: what {label} made of one session."))
    return {part.title: drawn}


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
        [draw_session(runs, row, succeeded, run.cases[row].name) for row in rows]
    )


def succeeded(run: PolicyRun, row: int) -> Sequence[bool | None]:
    """The `Marks` of edit success; none where nothing tells what is right."""
    if run.scores is None:
        return ()
    return (None, *(bool(success) for success in run.scores.success[row]))


def draw_session(
    runs: Mapping[str, PolicyRun],
    row: int,
    marks: Marks,
    title: str,
    cell: int = 96,
    turns: slice = slice(None),
) -> Image.Image:
    """One session: the truth, if known, and a line per policy; see `draw_sheet`.

    Args:
      runs: policy name -> run, all of the same cases.
      marks: of the frames of a run's session.
      turns: which frames, from the source on.
    """
    case = next(iter(runs.values())).cases[row]
    rows = []
    if case.read_truth is not None:
        rows.append(SheetRow("ground truth", _small(case.read_truth()[turns])))
    for name, run in runs.items():
        frames = _small(run.frames(row)[turns])
        rows.append(SheetRow(policy_title(name), frames, marks(run, row)[turns]))
    texts = [text or "(no instruction)" for text in case.instructions]
    captions = ["source image", *(f"{i}. {text}" for i, text in enumerate(texts, 1))]
    return draw_sheet(rows, captions[turns], title=title, cell=cell)


def _drift_curves(out: Path, report: Mapping[str, Any], part: str) -> list[Picture]:
    """A figure a checkpoint, and one a policy where there are several checkpoints."""
    results, truth = report[part], report["truth"]
    shared = report["identical"].get(part, {})
    # By the end of a file's name: what is shown, and the numbers of each line.
    series_of = {
        label: (
            label,
            {
                policy_title(name): r["per_turn"]
                for name, r in policies.items()
                if name not in shared
            },
        )
        for label, policies in results.items()
    }
    if len(results) > 1:
        for policy in next(iter(results.values())):
            if policy not in shared:
                series_of[f"by_checkpoint_{policy}"] = (
                    f"all checkpoints, {policy_title(policy)}",
                    {label: own[policy]["per_turn"] for label, own in results.items()},
                )
    drawn = []
    for name, (of, series) in series_of.items():
        for figure in figures_of(report["instruments"]["extractors"]):
            lines = dict(series)
            if figure.with_truth and part in truth:
                lines["ground truth"] = truth[part]["per_turn"]
            path = out / f"drift_{part}_{figure.name}_{name}.png"
            title = f"{of}: {figure.title}"
            if plot_drift(lines, figure.measures, path, title):
                told = "turn by turn: means, and their 95 % intervals as bands."
                drawn.append(Picture(path, f"{title}, {told}"))
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
