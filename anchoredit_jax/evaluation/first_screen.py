"""The first screen of the page: question, answer, sheets, curves and a summary."""

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from anchoredit_jax.evaluation.answer import (
    BETTER,
    SHOWN,
    WORSE,
    Comparison,
    compare_told,
    main_policy,
    question,
    ranked,
)
from anchoredit_jax.evaluation.markup import number, picture
from anchoredit_jax.evaluation.parts import PARTS
from anchoredit_jax.evaluation.pictures import Picture
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.table import Measure, Table, table_of


@dataclasses.dataclass(frozen=True)
class Front:
    """What the first screen is made of.

    Attributes:
      part: name of the part that it is about; None where no part goes over turns.
      policy: by which checkpoints are compared there.
      measures: of that part, the most telling first.
    """

    part: str | None
    policy: str
    measures: tuple[Measure, ...]
    table: Table


def front_of(report: Mapping[str, Any], measures: Sequence[Measure]) -> Front:
    """What the first screen of a report is about: its first part over turns."""
    for part in PARTS.values():
        if part.over_turns and report.get(part.name):
            table = table_of(report, [part.name])
            shared = report["identical"].get(part.name, {})
            policies = [name for name in table.names("run") if name not in shared]
            policy = main_policy(policies) or ""
            return Front(part.name, policy, tuple(ranked(measures, table)), table)
    return Front(None, "", (), Table(()))


def first_screen(
    report: Mapping[str, Any],
    about: Front,
    sheets: Sequence[Picture],
    curves: Sequence[Picture],
) -> str:
    """Its markup; see `front.draw_front` for the pictures."""
    policy, turns = about.policy or None, about.table.turns
    told = compare_told(report, about.measures, about.table, about.policy)
    lines = [f"<h1>{escape(question(report, policy, turns))}</h1>"]
    sentences = [one.sentence for one in told] or [_no_comparison(report, about)]
    lines += [f'<p class="answer">{escape(sentence)}</p>' for sentence in sentences]
    lines += [f"<p><small>{escape(n)}</small></p>" for n in report.get("notes", ())]
    if sheets:
        inside = "\n".join(map(picture, sheets))
        lines.append(f'<div class="side">{inside}</div>')
    lines += map(picture, curves)
    lines.append(_summary(told) if told else _values(about))
    return "\n".join(lines)


def _no_comparison(report, about: Front) -> str:
    if about.part is None:
        named = [part.title for part in PARTS.values() if report.get(part.name)]
        return f"Only these were asked for, and stand below: {', '.join(named)}."
    if not any(measure.higher_is_better is not None for measure in about.measures):
        return (
            "Nothing here tells which is better: these sessions have no right answers, "
            "and neither a judge nor a feature extractor was asked (--judge, "
            "--extractor). What changed from turn to turn is below."
        )
    if report["identical"].get(about.part):
        return (
            "Over so few turns the memories hold the same frames, so that there is "
            "nothing to compare; the numbers follow."
        )
    return "There is one run, and nothing that it is compared with; its numbers follow."


def _summary(comparisons: Sequence[Comparison]) -> str:
    """A table a comparison: both numbers, their difference and what it means."""
    tables = []
    for one in comparisons:
        lines = [
            f"<tr><th>measure</th><th>{escape(one.first)}</th>"
            f"<th>{escape(one.second)}</th><th>difference [low, high]</th>"
            f"<th>{escape(one.second)} is</th></tr>"
        ]
        for finding in one.findings:
            when = finding.first.kind or "all turns"
            name = escape(f"{finding.measure.heading}, {when}")
            told = (finding.difference[key] for key in ("mean", "low", "high"))
            mean, low, high = told
            style = finding.verdict if finding.verdict in (BETTER, WORSE) else ""
            lines.append(
                f"<tr><td>{name}</td><td>{number(finding.first)}</td>"
                f"<td>{number(finding.second)}</td>"
                f"<td>{mean:+.3g} [{low:+.3g}, {high:+.3g}]</td>"
                f"<td class='{style}'>{escape(finding.verdict)}</td></tr>"
            )
        tables.append(f"<div class='wide'><table>{''.join(lines)}</table></div>")
    return "\n".join(tables)


def _values(about: Front) -> str:
    """The last turn's numbers, a line a checkpoint and memory."""
    rows = about.table.where(turn=about.table.turns, shape="")
    if not rows.rows:
        return ""
    shown = about.measures[:SHOWN]
    head = "".join(f"<th>{escape(measure.heading)}</th>" for measure in shown)
    lines = [f"<tr><th>turn {about.table.turns}</th>{head}</tr>"]
    for checkpoint in rows.names("checkpoint"):
        for policy in rows.where(checkpoint=checkpoint).names("run"):
            found = (
                rows.first(checkpoint=checkpoint, run=policy, measure=measure.name)
                for measure in shown
            )
            cells = "".join(f"<td>{number(row)}</td>" for row in found)
            name = escape(f"{checkpoint}, {policy_title(policy)}")
            lines.append(f"<tr><td>{name}</td>{cells}</tr>")
    return f"<div class='wide'><table>{''.join(lines)}</table></div>"
