"""What a battery of trials found, as a table."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a trial gave, as a line of the table."""

    trial: str
    result: str
    why: str
    passed: bool


def table(outcomes: Sequence[Outcome]) -> str:
    """Lay out the outcomes as a table in Markdown."""
    lines = ["| trial | result | why | as expected |", "|---|---|---|---|"]
    for outcome in outcomes:
        told = "yes" if outcome.passed else "NO"
        lines.append(f"| {outcome.trial} | {outcome.result} | {outcome.why} | {told} |")
    return "\n".join(lines)
