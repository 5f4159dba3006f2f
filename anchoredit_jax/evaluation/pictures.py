"""The evaluation's figures: drift curves, contact sheets, the cover story."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.evaluation.contact_sheet import SheetRow, draw_sheet, stack_sheets
from anchoredit_jax.evaluation.panels import GROUPS, Group
from anchoredit_jax.evaluation.plots import plot_drift
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.policy_run import PolicyRun
from anchoredit_jax.evaluation.settings import OVER_TURNS, TITLES

SHEET_SESSIONS = 4
STORY_TITLE = "Cover the subject, make five other edits, uncover it: who comes back?"

# part -> label -> policy -> run
Runs = Mapping[str, Mapping[str, Mapping[str, PolicyRun]]]


def write_pictures(
    out: Path, report: Mapping[str, Any], runs: Runs, groups: Sequence[Group] = GROUPS
) -> dict[str, list[Path]]:
    """Write all figures of a report to the folder `out`.

    Returns:
      heading -> files, in the order of a report.
    """
    pictures: dict[str, list[Path]] = {}
    for part in OVER_TURNS:
        drawn = _drift_curves(out, report[part], report["truth"], part, groups)
        pictures[f"{TITLES[part]}: drift"] = drawn
        sheets = []
        for label, policies in runs[part].items():
            path = out / f"sheet_{part}_{label}.png"
            sheet(policies).save(path)
            sheets.append(path)
        pictures[f"{TITLES[part]}: frames"] = sheets
    stories = []
    for number, (label, policies) in enumerate(runs["story"].items()):
        stories.append(out / ("story.png" if number == 0 else f"story_{label}.png"))
        story_picture(policies).save(stories[-1])
    pictures[TITLES["story"]] = stories
    return {heading: files for heading, files in pictures.items() if files}


def sheet(runs: Mapping[str, PolicyRun], sessions: int = SHEET_SESSIONS) -> Image.Image:
    """The first sessions of every shape: the truth, if known, and one row per policy.

    A frame of a sprite session is green where the edit succeeded, red where not.

    Args:
      runs: policy name -> run, all of the same cases.
    """
    run = next(iter(runs.values()))
    in_turn = itertools.chain(*itertools.zip_longest(*run.by_shape().values()))
    rows = [row for row in in_turn if row is not None][:sessions]
    return stack_sheets([_sheet(run.cases[row], row, runs) for row in rows])


def story_picture(runs: Mapping[str, PolicyRun], row: int = 0) -> Image.Image:
    """A scripted cover-and-uncover session; only the last frame is judged.

    Its frame is green where the uncovered subject is right (edit success and nearest
    of 48), red where not. Full history is left out beside other policies.
    """

    def marks(run):
        scores = run.scores
        right = bool(scores.success[row, -1] * scores.retrieved[row, -1])
        return (None,) * scores.success.shape[1] + (right,)

    chosen = {name: run for name, run in runs.items() if name != "full"} or runs
    case = next(iter(runs.values())).cases[row]
    rows = _rows(case, row, chosen, marks)
    return draw_sheet(rows, _captions(case), title=STORY_TITLE, cell=128)


def _drift_curves(out, results, truth, part, groups) -> list[Path]:
    """A figure a checkpoint, and one a policy where there are several checkpoints."""
    figures = {
        label: {policy_title(name): r["per_turn"] for name, r in policies.items()}
        for label, policies in results.items()
    }
    if len(results) > 1:
        for policy in next(iter(results.values())):
            figures[f"by_checkpoint_{policy}"] = {
                label: policies[policy]["per_turn"]
                for label, policies in results.items()
            }
    drawn = []
    for name, series in figures.items():
        for group in groups:
            lines = dict(series)
            if group.with_truth and part in truth:
                lines["ground truth"] = truth[part]["per_turn"]
            path = out / f"drift_{part}_{group.name}_{name}.png"
            title = f"{name.replace('_', ' ')}: {group.title}"
            if plot_drift(lines, group.measures, path, title):
                drawn.append(path)
    return drawn


def _sheet(case: Case, row: int, runs: Mapping[str, PolicyRun]) -> Image.Image:
    def marks(run):
        if run.scores is None:
            return ()
        return (None, *(bool(success) for success in run.scores.success[row]))

    return draw_sheet(_rows(case, row, runs, marks), _captions(case), title=case.name)


def _rows(case, row, runs, marks) -> list[SheetRow]:
    rows = []
    if case.read_truth is not None:
        rows.append(SheetRow("ground truth", _small(case.read_truth())))
    for name, run in runs.items():
        rows.append(SheetRow(policy_title(name), _small(run.frames(row)), marks(run)))
    return rows


def _small(frames: np.ndarray, side: int = 192) -> np.ndarray:
    """uint8 [T, H, W, 3], large ones made smaller: a page holds many of them."""
    if max(frames.shape[1:3]) <= side:
        return frames
    scale = side / max(frames.shape[1:3])
    size = tuple(max(round(scale * length), 1) for length in frames.shape[2:0:-1])
    return np.stack(
        [
            np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
            for frame in frames
        ]
    )


def _captions(case: Case) -> list[str]:
    texts = [text or "(no instruction)" for text in case.instructions]
    return ["source image", *(f"{i}. {text}" for i, text in enumerate(texts, 1))]
