"""An evaluation's numbers as CSV: means over the turns, and every single value."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

TURNS = ("part", "checkpoint", "policy", "measure", "turn", "mean", "low", "high")
VALUES = ("part", "checkpoint", "policy", "session", "shape", "turn", "instruction")


def write_turns(path: Path, report: Mapping[str, Any], parts: tuple[str, ...]) -> None:
    """A line a part, checkpoint, policy, measure and turn: mean, 95 % interval, count.

    Args:
      report: what report.json holds.
      parts: those with a "per_turn".
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow((*TURNS, "count"))
        for part, label, policy, result in _results(report, parts):
            for measure, turns in result["per_turn"].items():
                for turn, value in enumerate(turns, 1):
                    numbers = [value[key] for key in ("mean", "low", "high", "count")]
                    table.writerow((part, label, policy, measure, turn, *numbers))


def write_sessions(path: Path, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """One line a session and turn, a column a measure; empty where none applies.

    Args:
      runs: part -> label -> policy -> `PolicyRun`.
    """
    every = [
        (part, label, policy, run)
        for part, contestants in runs.items()
        for label, policies in contestants.items()
        for policy, run in policies.items()
    ]
    names = sorted({name for *_, run in every for name in run.measures})
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow((*VALUES, *names))
        for part, label, policy, run in every:
            for row, case in enumerate(run.cases):
                for turn, text in enumerate(case.instructions):
                    found = (run.measures.get(name) for name in names)
                    values = ("" if v is None else _number(v[row, turn]) for v in found)
                    place = (part, label, policy, case.name, case.shape, turn + 1, text)
                    table.writerow((*place, *values))


def _results(report, parts) -> Iterator[tuple[str, str, str, dict]]:
    for part in parts:
        for label, policies in report[part].items():
            for policy, result in policies.items():
                yield part, label, policy, result


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
