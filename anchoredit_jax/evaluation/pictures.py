"""The evaluation's figures: drift curves, contact sheets, the cover story."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anchoredit_jax.data.sprites import SpriteSession
from anchoredit_jax.evaluation.contact_sheet import SheetRow, draw_sheet, stack_sheets
from anchoredit_jax.evaluation.held_out import held_out_sessions, story_sessions
from anchoredit_jax.evaluation.plots import plot_drift
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.sprites import render_truth

SHEET_SESSIONS = 4
STORY_TITLE = "Cover the subject, make five other edits, uncover it: who comes back?"


def write_pictures(
    out: Path,
    settings: Any,
    report: Mapping[str, Any],
    main: Mapping[str, Mapping[str, Any]],
    story: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write all figures of a report to the folder `out` (see `report.evaluate`)."""
    for label, results in report["table"].items():
        series = {policy_title(n): r["per_turn"] for n, r in results.items()}
        plot_drift(series, out / f"drift_{label}.png", label)
    if len(report["table"]) > 1:
        for policy in settings.policies:
            series = {n: r[policy]["per_turn"] for n, r in report["table"].items()}
            path = out / f"drift_by_checkpoint_{policy}.png"
            plot_drift(series, path, policy_title(policy))
    if main:
        count = min(SHEET_SESSIONS, settings.sessions)
        sessions = held_out_sessions(count, settings.turns, settings.seed)
        for label, runs in main.items():
            sheets = [sheet(s, i, runs) for i, s in enumerate(sessions)]
            stack_sheets(sheets).save(out / f"sheet_{label}.png")
    for number, (label, runs) in enumerate(story.items()):
        session = story_sessions(1, settings.seed)[0]
        name = "story.png" if number == 0 else f"story_{label}.png"
        story_picture(session, 0, runs).save(out / name)


def sheet(
    session: SpriteSession, row: int, runs: Mapping[str, Any], title: str = ""
) -> Image.Image:
    """The truth and one row per policy; a frame is green where the edit succeeded.

    Args:
      row: of the session in the runs' images and scores.
      runs: policy name -> `PolicyRun`.
    """

    def marks(scores):
        return (None, *(bool(success) for success in scores.success[row]))

    rows = _rows(session, row, runs, marks)
    return draw_sheet(rows, _captions(session), title=title)


def story_picture(
    session: SpriteSession, row: int, runs: Mapping[str, Any]
) -> Image.Image:
    """The scripted cover-and-uncover session; only the last frame is judged.

    Its frame is green where the uncovered subject is right (edit success and nearest
    of 48), red where not. Full history is left out beside other policies.
    """

    def marks(scores):
        right = bool(scores.success[row, -1] * scores.retrieved[row, -1])
        return (None,) * len(session.edits) + (right,)

    chosen = {name: run for name, run in runs.items() if name != "full"} or runs
    rows = _rows(session, row, chosen, marks)
    return draw_sheet(rows, _captions(session), title=STORY_TITLE, cell=128)


def _rows(session, row, runs, marks) -> list[SheetRow]:
    size = next(iter(runs.values())).images.shape[2]
    truth = render_truth([session], size)[0]
    rows = [SheetRow("ground truth", truth)]
    for name, run in runs.items():
        images = np.concatenate([truth[:1], run.images[row]])
        rows.append(SheetRow(policy_title(name), images, marks(run.scores)))
    return rows


def _captions(session: SpriteSession) -> list[str]:
    texts = [edit.text or "(no instruction)" for edit in session.edits]
    return ["source image", *(f"{i}. {text}" for i, text in enumerate(texts, 1))]
