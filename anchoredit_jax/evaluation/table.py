"""All numbers of a report as rows of one table; as text and as CSV.

The console, turns.csv and the page are made of these rows, and of nothing else;
sessions.csv of what they are means of.
"""

import csv
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.evaluation.policies import policy_title

SESSIONS = ("part", "checkpoint", "policy", "session", "shape", "turn", "instruction")
# Of turns.csv, whose "policy" is a row's run.
TURNS = "part checkpoint policy measure turn mean low high count".split()


@dataclasses.dataclass(frozen=True)
class Measure:
    """How a report shows a measure.

    Attributes:
      name: its key among the measures of a run.
      title: a column's heading, without the unit.
      unit: "" for a pure number.
      higher_is_better: None where neither direction is: instructions may ask for such a
        change, and only one that grows without being asked for is a fault.
      limits: of its axis in plots; None for those of the values.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool | None
    limits: tuple[float, float] | None = None

    @property
    def heading(self) -> str:
        """The title and the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclasses.dataclass(frozen=True)
class Row:
    """One number, and what it is of.

    Attributes:
      part, checkpoint: of the evaluation.
      run: the memory policy, the sampler, or the codec's precisions.
      measure: its name; a count of sessions and the like has a mean and no interval.
      turn: from 1; 0 for all of them.
      shape: of the pictures, kind: of the instructions; "" for all together.
      mean, low, high, count: see `bootstrap_mean`; None where nothing was counted.
    """

    part: str
    checkpoint: str
    run: str
    measure: str
    turn: int = 0
    shape: str = ""
    kind: str = ""
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows in the order of the report; what is of all together stands first."""

    rows: tuple[Row, ...]

    def where(self, **place: Any) -> "Table":
        """The rows whose attributes have these values."""
        wanted = place.items()
        return Table(
            tuple(
                row
                for row in self.rows
                if all(getattr(row, name) == value for name, value in wanted)
            )
        )

    def first(self, **place: Any) -> Row | None:
        """The first row whose attributes have these values."""
        return next(iter(self.where(**place).rows), None)

    def names(self, attribute: str) -> list[Any]:
        """Its values, each once, in their order; "" is none."""
        found = dict.fromkeys(getattr(row, attribute) for row in self.rows)
        return [name for name in found if name != ""]

    @property
    def turns(self) -> int:
        """The last turn that anything is known of."""
        return max((row.turn for row in self.rows), default=0)


def table_of(report: Mapping[str, Any], parts: Iterable[str]) -> Table:
    """The rows of some parts of what report.json holds."""
    rows: list[Row] = []
    for part in parts:
        for checkpoint, results in report.get(part, {}).items():
            named = results.items() if isinstance(results, Mapping) else _named(results)
            for run, result in named:
                place = {"part": part, "checkpoint": checkpoint, "run": run}
                rows.extend(_rows(result, place))
    return Table(tuple(rows))


def _named(results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Results in a list are told apart by the texts in them."""
    for result in results:
        yield ", ".join(v for v in result.values() if isinstance(v, str)), result


def _rows(result: Mapping[str, Any], place: dict[str, Any]) -> Iterator[Row]:
    for name, value in result.items():
        if name == "per_turn":
            for measure, turns in value.items():
                for turn, number in enumerate(turns, 1):
                    yield Row(**place, measure=measure, turn=turn, **number)
        elif name == "by_shape":
            for shape, part in value.items():
                yield from _rows(part, {**place, "shape": shape})
        elif name == "success_by_kind":
            for kind, number in value.items():
                yield Row(**place, measure="success", kind=kind, **number)
        elif isinstance(value, Mapping) and "mean" in value:
            yield Row(**place, measure=name, **value)
        elif isinstance(value, Mapping):
            yield from _rows(value, {**place, "kind": name})
        elif isinstance(value, int):
            yield Row(**place, measure=name, mean=value, count=1)


def write_turns(path: Path, table: Table) -> None:
    """A line a part, checkpoint, policy, measure and turn: mean, 95 % interval, count;
    all shapes together."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(TURNS)
        for row in table.where(shape="").rows:
            if row.turn:
                values = dataclasses.asdict(row) | {"policy": row.run}
                lines.writerow([values[name] for name in TURNS])


def write_sessions(path: Path, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """CSV, a line a session and turn, a column a measure; empty where none applies.

    Args:
      runs: part -> checkpoint -> policy -> `PolicyRun`.
    """
    every = [
        (part, label, policy, run)
        for part, contestants in runs.items()
        for label, policies in contestants.items()
        for policy, run in policies.items()
    ]
    names = sorted({name for *_, run in every for name in run.measures})
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow((*SESSIONS, *names))
        for *place, run in every:
            for row, case in enumerate(run.cases):
                for turn, text in enumerate(case.instructions):
                    found = (run.measures.get(name) for name in names)
                    values = ("" if v is None else _number(v[row, turn]) for v in found)
                    of = (*place, case.name, case.shape, turn + 1, text)
                    lines.writerow((*of, *values))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def text_table(
    heading: str,
    lines: Iterable[tuple[str, Table]],
    columns: Mapping[str, Callable[[Table], str]],
) -> str:
    """A line a title and its rows, a column a heading and what it shows of the rows."""
    rows = [
        [title, *(cell(rows) for cell in columns.values())] for title, rows in lines
    ]
    return format_table([heading, *columns], rows)


def by_policy(rows: Table) -> list[tuple[str, Table]]:
    """(title, rows) of every policy."""
    return [(policy_title(name), rows.where(run=name)) for name in rows.names("run")]


def show(
    measure: str,
    digits: int = 3,
    turns: Sequence[int] = (0,),
    *,
    interval: bool = False,
    **place: Any,
) -> Callable[[Table], str]:
    """What a column shows: a measure at some turns, 0 for that of all of them."""

    def cell(rows: Table) -> str:
        found = (rows.first(measure=measure, turn=turn, **place) for turn in turns)
        return " / ".join(format_number(row, digits, interval) for row in found)

    return cell


def format_number(row: Row | None, digits: int, interval: bool = False) -> str:
    """A mean, with its 95 % interval if wanted; "-" where nothing was counted."""
    if row is None or row.mean is None:
        return "-"
    text = f"{row.mean:.{digits}f}"
    if interval:
        text += f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
    return text


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [
            cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def marks(turns: int) -> list[int]:
    """The first, the middle and the last turn."""
    return sorted({1, max(1, turns // 2), turns})


def joined(turns: Sequence[int]) -> str:
    """As in "1 / 6 / 12"."""
    return " / ".join(map(str, turns))
