"""The whole evaluation as one HTML file that needs no other file and no network.

Its first screen has the question, the answer, a session by every model and three
curves; all else is folded below.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from anchoredit_jax.evaluation.first_screen import first_screen, front_of
from anchoredit_jax.evaluation.glossary import GLOSSARY
from anchoredit_jax.evaluation.markup import picture, turn_tables
from anchoredit_jax.evaluation.parts import PARTS
from anchoredit_jax.evaluation.pictures import Picture
from anchoredit_jax.evaluation.table import Measure, table_of
from anchoredit_jax.web_page import whole_page

_STYLE = """
body { max-width: 84rem; margin-top: 1rem; }
h1 { font-size: 1.5rem; margin: .4rem 0; }
.answer { font-size: 1.1rem; margin: .4rem 0; }
.side { display: grid; gap: .8rem; margin: .6rem 0;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0 0 .8rem; }
details { border-top: 1px solid #8884; padding: .4rem 0; }
summary { cursor: pointer; font-weight: 600; }
.better { color: #1a7f4b; font-weight: 600; } .worse { color: #c33; font-weight: 600; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem 1rem; }
""".strip()


def write_html(
    path: Path,
    report: Mapping[str, Any],
    text: str,
    front: tuple[Sequence[Picture], Sequence[Picture]],
    pictures: Mapping[str, Sequence[Picture]],
    measures: Sequence[Measure],
) -> None:
    """Write the page.

    Args:
      report: what report.json holds.
      text: the tables as they are printed.
      front: sheets and curves of the first screen, see `front.draw_front`.
      pictures: heading -> pictures, which are put into the page.
      measures: those of the tables over the turns, in their order.
    """
    about = front_of(report, measures)
    table = table_of(report, PARTS)
    sections = [
        first_screen(report, about, *front),
        _folded("What the words mean", _glossary()),
    ]
    for part in PARTS.values():
        rows = table.where(part=part.name, shape="")
        if part.over_turns and rows.rows:
            found = turn_tables(rows, measures)
            sections.append(_folded(f"{part.title}, turn by turn", found))
    for heading, drawn in pictures.items():
        sections.append(_folded(heading, "\n".join(map(picture, drawn))))
    sections += [
        _folded("All numbers as they are printed", f"<pre>{escape(text)}</pre>"),
        _folded("How this was run", _how(report)),
    ]
    title = "Evaluation of " + ", ".join(c["label"] for c in report["contestants"])
    body = "\n".join(sections)
    path.write_text(whole_page(title, body, style=_STYLE), encoding="utf-8")


def _folded(heading: str, inside: str) -> str:
    if not inside:
        return ""
    return f"<details><summary>{escape(heading)}</summary>\n{inside}\n</details>"


def _how(report: Mapping[str, Any]) -> str:
    """Every checkpoint and its way, and the settings of the evaluation."""
    lines = []
    for one in report["contestants"]:
        chain = one.get("lineage", ())
        way = " → ".join(f"{link['stage']}, step {link['step']}" for link in chain)
        told = f"{one.get('path')}; sampler {one.get('sampler')}"
        at = f"; trained at {one['trained_at']} pixels" if "trained_at" in one else ""
        way = f"; {way}" if way else ""
        told = escape(f"{told}{at}{way}")
        lines.append(f"<dt>{escape(one['label'])}</dt><dd>{told}</dd>")
    for name, value in report["settings"].items():
        lines.append(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>")
    return f"<dl>{''.join(lines)}</dl>"


def _glossary() -> str:
    terms = (
        f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>"
        for term, meaning in GLOSSARY.items()
    )
    return f"<dl>{''.join(terms)}</dl>"
