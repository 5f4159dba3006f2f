"""The question that a report answers, and the answer, in sentences with their numbers.

A difference counts where its 95 % interval leaves out 0, and there are sessions enough.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.summary import LAST
from anchoredit_jax.evaluation.table import Measure, Row, Table

# Signs of fewer sessions agree by chance in more than one of twenty cases.
FEWEST = 6
SHOWN = 6  # measures of the summary
# What says most, first; all others follow in the order of the figures.
_FIRST = (
    "success subject_psnr state judge_success judge_kept identity_psnr l1"
).split()
BETTER, WORSE, EVEN, FEW = "better", "worse", "no difference shown", "too few sessions"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One measure of two runs, the second against the first.

    Attributes:
      measure: what is compared, over all turns or at the last one.
      first, second: the two numbers.
      difference: second minus first, paired: mean, low, high, count.
      verdict: `BETTER`, `WORSE`, `EVEN` or `FEW`.
    """

    measure: Measure
    first: Row
    second: Row
    difference: Mapping[str, Any]
    verdict: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs: their names in words, how many sessions both have, and what was found
    of each measure."""

    first: str
    second: str
    sessions: int
    findings: tuple[Finding, ...]

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        told: dict[str, list[str]] = {}
        for finding in self.findings:
            told.setdefault(finding.verdict, []).append(finding.measure.title)
        if told.keys() == {FEW}:
            return (
                f"{self.second} against {self.first}: {self.sessions} sessions are too "
                f"few to tell a difference from chance; give at least {FEWEST}."
            )
        parts = [
            f"is {word} than {self.first} at {listed(told[word])}"
            for word in (BETTER, WORSE)
            if word in told
        ]
        if not parts:
            return (
                f"{self.second} and {self.first}: no difference is shown at "
                f"{listed(told[EVEN])}."
            )
        also = (
            f"; at {listed(told[EVEN])} no difference is shown" if EVEN in told else ""
        )
        return f"{self.second} {' and '.join(parts)}{also}."


def listed(names: Sequence[str]) -> str:
    """As in "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def question(report: Mapping[str, Any], policy: str | None, turns: int) -> str:
    """What the reader wants to know of these contestants.

    Args:
      policy: the memory of the answer; None where no part goes over turns.
      turns: how many.
    """
    labels = [contestant["label"] for contestant in report["contestants"]]
    if policy is None or not turns:
        return f"How well does {listed(labels)} edit?"
    over = f"over {turns} turn{'s' if turns > 1 else ''}"
    if len(labels) > 1:
        return f"Which edits better {over}: {', '.join(labels[:-1])} or {labels[-1]}?"
    return f"How well does {labels[0]} edit {over}, and with which memory?"


def main_policy(policies: Iterable[str]) -> str | None:
    """The memory by which checkpoints are compared: the first with an anchor and a
    window, else the first of all."""
    policies = list(policies)
    anchored = [name for name in policies if name.startswith("sink")]
    return next(iter([*anchored, *policies]), None)


def ranked(measures: Sequence[Measure], table: Table) -> list[Measure]:
    """Those with values over the turns, what says most first; among them those with a
    better direction before those without."""
    known = {row.measure for row in table.rows if row.turn and row.mean is not None}
    found = [measure for measure in measures if measure.name in known]
    places = {name: place for place, name in enumerate(_FIRST)}

    def key(measure: Measure) -> tuple:
        place = places.get(measure.name, len(places))
        return measure.higher_is_better is None, place

    return sorted(found, key=key)


def compare_told(
    report: Mapping[str, Any], measures: Sequence[Measure], table: Table, policy: str
) -> list[Comparison]:
    """The comparisons of the first screen: of checkpoints under one policy, or of the
    policies of one checkpoint.

    Args:
      measures: ranked.
      table: rows of the part that was compared.
      policy: of comparisons between checkpoints.
    """
    several, found = len(report["contestants"]) > 1, []
    counted = table.first(measure="sessions", shape="")
    sessions = int(counted.mean) if counted is not None else 0
    for entry in report["comparisons"]:
        a, b = entry["first"], entry["second"]
        across = a["checkpoint"] != b["checkpoint"]
        if across != several or (across and b["policy"] != policy):
            continue
        names = [
            place["checkpoint"] if across else policy_title(place["policy"])
            for place in (a, b)
        ]
        findings = [
            finding
            for measure in measures
            if measure.higher_is_better is not None
            if (finding := _finding(measure, table, entry, sessions)) is not None
        ]
        if findings:
            found.append(Comparison(*names, sessions, tuple(findings[:SHOWN])))
    return found


def _finding(
    measure: Measure, table: Table, entry: Mapping, sessions: int
) -> Finding | None:
    overall = measure.name in entry["difference"]
    difference = entry["difference"].get(
        measure.name if overall else f"{measure.name}_last"
    )
    if difference is None or difference["mean"] is None:
        return None
    first, second = (
        table.first(
            checkpoint=place["checkpoint"],
            run=place["policy"],
            measure=measure.name,
            turn=0,
            shape="",
            kind="" if overall else LAST,
        )
        for place in (entry["first"], entry["second"])
    )
    if first is None or second is None:
        return None
    verdict = _verdict(measure, difference, sessions)
    return Finding(measure, first, second, difference, verdict)


def _verdict(measure: Measure, difference: Mapping, sessions: int) -> str:
    if min(sessions, difference["count"]) < FEWEST:
        return FEW
    if difference["low"] <= 0 <= difference["high"]:
        return EVEN
    return BETTER if (difference["mean"] > 0) == measure.higher_is_better else WORSE
