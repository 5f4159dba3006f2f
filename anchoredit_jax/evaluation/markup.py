"""Pictures, numbers and tables over the turns, as markup of the page."""

from collections.abc import Sequence
from html import escape

from anchoredit_jax.evaluation.pictures import Picture
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.table import Measure, Row, Table
from anchoredit_jax.web_page import png_uri


def turn_tables(table: Table, measures: Sequence[Measure]) -> str:
    """A table a measure that has values."""
    found = (_turn_table(table, measure) for measure in measures)
    return "\n".join(one for one in found if one)


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
            cells = "".join(f"<td>{number(row)}</td>" for row in rows)
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


def number(row: Row | None) -> str:
    """The mean; its 95 % interval shows under the pointer."""
    if row is None or row.mean is None:
        return "-"
    told = f"{row.low:.4g} to {row.high:.4g}, {row.count} values"
    return f'<span title="{told}">{row.mean:.4g}</span>'


def picture(shown: Picture) -> str:
    """A picture, all of it inside the page, with its caption."""
    caption = escape(shown.caption)
    return (
        f'<figure class="wide"><img alt="{caption}" src="{png_uri(shown.path)}">'
        f"<figcaption><small>{caption}</small></figcaption></figure>"
    )
