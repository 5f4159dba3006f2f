"""The whole evaluation as one HTML file that needs no other file and no network."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from anchoredit_jax.evaluation.parts import PARTS
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.table import Measure, Row, Table, table_of

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem;
       padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0;
        font-size: 13px; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #8884;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
small { color: #888; }
pre { overflow-x: auto; font-size: 13px; }
""".strip()


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
    path.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(_title(report))}</title>\n<style>\n{_STYLE}\n</style></head>\n"
        f"<body>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


def _title(report) -> str:
    return "Evaluation of " + ", ".join(c["label"] for c in report["contestants"])


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    name = escape(path.stem.replace("_", " "))
    return (
        f'<figure class="wide"><img alt="{name}" src="data:image/png;base64,{data}">'
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
