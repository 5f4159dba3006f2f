"""The pictures of a report's first screen: a session by every model, three curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.evaluation.fairness import distinct
from anchoredit_jax.evaluation.pictures import (
    Picture,
    draw_session,
    plot_drift,
    succeeded,
)
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.runs import PolicyRun
from anchoredit_jax.evaluation.table import Measure
from anchoredit_jax.session.contact_sheet import stack_sheets

CURVES = 3
_CELL, _ONE_WIDE, _SIDE_BY_SIDE = 72, 13, 7  # pixels of a frame; frames in a row


def draw_front(
    out: Path,
    report: Mapping[str, Any],
    part: str,
    runs: Mapping[str, Mapping[str, PolicyRun]],
    measures: Sequence[Measure],
    policy: str,
) -> tuple[list[Picture], list[Picture]]:
    """Write them.

    Args:
      out: folder of the pictures.
      part: its name, and runs: checkpoint -> policy -> run, of that part.
      measures: of the curves, the most telling first.
      policy: under which several checkpoints are compared.

    Returns:
      the first session as each checkpoint edited it, and the curves.
    """
    several = len(runs) > 1
    sheets = []
    for label, policies in runs.items():
        shown = {policy: policies[policy]} if several else distinct(policies)
        path = out / f"front_{label}.png"
        caption = _draw_sheet(shown, path, _SIDE_BY_SIDE if several else _ONE_WIDE)
        sheets.append(Picture(path, f"What {label} made of {caption}"))
    if several:
        lines = {label: report[part][label][policy]["per_turn"] for label in runs}
        of = f"all checkpoints with {policy_title(policy)}"
    else:
        ((label, policies),) = runs.items()
        lines = {
            policy_title(name): report[part][label][name]["per_turn"]
            for name in distinct(policies)
        }
        of = f"{label} with every memory"
    path, shown = out / "front_curves.png", measures[:CURVES]
    if not shown or not plot_drift(lines, shown, path):
        return sheets, []
    caption = f"Turn by turn, {of}: means, and their 95 % intervals as bands."
    return sheets, [Picture(path, caption)]


def _draw_sheet(runs: Mapping[str, PolicyRun], path: Path, columns: int) -> str:
    """Draw the first session in bands of so many frames; returns the caption."""
    run = next(iter(runs.values()))
    case = run.cases[0]
    frames = len(case.instructions) + 1
    bands = [
        draw_session(
            runs, 0, succeeded, "", _CELL, slice(start, min(start + columns, frames))
        )
        for start in range(0, frames, columns)
    ]
    stack_sheets(bands).save(path)
    told = f"the first session, {listed_policies(runs)}."
    if case.read_truth is not None:
        told += " The row above it is what is right."
    if run.scores is not None:
        told += (
            " A green frame is an edit that succeeded, a red one an edit that failed."
        )
    return told


def listed_policies(runs: Mapping[str, PolicyRun]) -> str:
    """The memories in words, in their order."""
    return "with " + ", ".join(policy_title(name) for name in runs)
