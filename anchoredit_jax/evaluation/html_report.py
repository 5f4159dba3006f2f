"""The whole evaluation as one HTML file that needs no other file and no network."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from anchoredit_jax.evaluation.parts import PARTS
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.table import Measure, Row, Table, table_of
from anchoredit_jax.web_page import png_uri, whole_page


def write_html(
    path: Path,
    report: Mapping[str, Any],
    text: str,
    pictures: Mapping[str, Sequence[Path]],
    measures: Sequence[Measure],
) -> None:
    """Write the page.

    Args:
      report: what report.json holds.
      text: the tables as they are printed.
      pictures: heading -> picture files, which are put into the page.
      measures: those of the tables over the turns, in their order.
    """
    parts = [f"<h1>{escape(_title(report))}</h1>", f"<pre>{escape(text)}</pre>"]
    for heading, files in pictures.items():
        parts.append(f"<h2>{escape(heading)}</h2>")
        parts.extend(_picture(file) for file in files)
    table = table_of(report, PARTS)
    for part in PARTS.values():
        rows = table.where(part=part.name, shape="")
        if part.over_turns and rows.rows:
            parts.append(f"<h2>{escape(part.title)}, turn by turn</h2>")
            parts.extend(_turn_table(rows, measure) for measure in measures)
    body = "\n".join(part for part in parts if part)
    path.write_text(whole_page(_title(report), body), encoding="utf-8")


def _title(report) -> str:
    return "Evaluation of " + ", ".join(c["label"] for c in report["contestants"])


def _picture(path: Path) -> str:
    name = escape(path.stem.replace("_", " "))
    return (
        f'<figure class="wide"><img alt="{name}" src="{png_uri(path)}">'
        f"<figcaption><small>{name}</small></figcaption></figure>"
    )


def _turn_table(table: Table, measure: Measure) -> str:
    """A line a checkpoint and policy, a column a turn; nothing where all is empty."""
    lines, turns = [], 0
    known = table.where(measure=measure.name)
    for checkpoint in known.names("checkpoint"):
        own = known.where(checkpoint=checkpoint)
        for policy in own.names("run"):
            rows = [row for row in own.where(run=policy).rows if row.turn]
            if all(row.mean is None for row in rows):
                continue
            cells = "".join(f"<td>{_number(row)}</td>" for row in rows)
            name = escape(f"{checkpoint}, {policy_title(policy)}")
            lines.append(f"<tr><td>{name}</td>{cells}</tr>")
            turns = max(turns, len(rows))
    if not lines:
        return ""
    head = "".join(f"<th>{turn}</th>" for turn in range(1, turns + 1))
    return (
        f"<h3>{escape(measure.heading)}</h3>\n<div class='wide'><table>"
        f"<tr><th>turn</th>{head}</tr>\n" + "\n".join(lines) + "</table></div>"
    )


def _number(row: Row) -> str:
    """The mean; its 95 % interval shows under the pointer."""
    if row.mean is None:
        return "-"
    told = f"{row.low:.4g} to {row.high:.4g}, {row.count} values"
    return f'<span title="{told}">{row.mean:.4g}</span>'
