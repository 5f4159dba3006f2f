"""The whole page of one or two workdirs."""

import datetime
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from anchoredit_jax.watching.axis import Axis, make_axes
from anchoredit_jax.watching.curves import draw_sections
from anchoredit_jax.watching.history import (
    changed_settings,
    configurations,
    differing_settings,
    lineages,
)
from anchoredit_jax.watching.overview import overview
from anchoredit_jax.watching.records import WorkdirRecord
from anchoredit_jax.watching.sheets import Address, draw_sheets, in_the_page
from anchoredit_jax.web_page import whole_page

SHEETS = 12  # in a page that holds its pictures
_HERE = Path(__file__).parent


def build_page(
    workdirs: Sequence[WorkdirRecord],
    now: datetime.datetime,
    sheets: int | None = SHEETS,
    address: Address = in_the_page,
) -> str:
    """The HTML document.

    Args:
      workdirs: one, or two that are compared.
      now: when the page is built; ages count from it.
      sheets: how many contact sheets of each workdir at most; None is all.
      address: where their pictures are; in the page by default.
    """
    axes = make_axes(workdirs)
    sections = draw_sections(workdirs, axes)
    charts = {
        name: f'<div class="charts">{drawn}</div>' for name, drawn in sections.items()
    }
    first = {"Loss": charts.pop("Loss")} if "Loss" in charts else {}
    settings = "".join(_named(w, changed_settings(w), workdirs) for w in workdirs)
    if len(workdirs) == 2:
        settings += "<h3>Between the two</h3>" + differing_settings(workdirs)
    settings += "".join(_named(w, configurations(w.stages), workdirs) for w in workdirs)
    parts = {
        **first,
        "Samples": draw_sheets(workdirs, sheets, address),
        **charts,
        "Settings": settings,
        "Lineage": "".join(_named(w, lineages(w), workdirs) for w in workdirs),
    }
    top = [_named(w, overview(w, now), workdirs, 2) for w in workdirs]
    names = " and ".join(workdir.name for workdir in workdirs)
    body = "\n".join(
        [
            f"<header><h1>{escape(names)}</h1><p><small>built "
            f"{now:%Y-%m-%d %H:%M:%S}</small></p></header>",
            _bar(list(parts), axes, workdirs),
            f'<main><div class="pair">{"".join(top)}</div>',
            *(_section(name, markup) for name, markup in parts.items()),
            f'</main><script type="application/json" id="axes">{_axes(axes)}</script>',
        ]
    )
    style, script = ((_HERE / name).read_text() for name in ("page.css", "page.js"))
    return whole_page(f"Watching {names}", body, style, script)


def _bar(
    names: Sequence[str], axes: Sequence[Axis], workdirs: Sequence[WorkdirRecord]
) -> str:
    """What stays in view: where to go, which stage is shown, whose lines are whose."""
    links = "".join(f'<a href="#{_anchor(n)}">{escape(n)}</a>' for n in names)
    options = "".join(
        f'<option value="{escape(axis.name)}">{escape(axis.name) or "all stages"}'
        "</option>"
        for axis in axes
    )
    choice = (
        '<label for="view">Curves of <select id="view" autocomplete="off">'
        f"{options}</select></label>"
        if len(axes) > 1
        else ""
    )
    whose = "".join(
        f'<span class="whose"><svg viewBox="0 0 320 20" class="w{number}">'
        f'<path class="clear" d="M0 10h320"/></svg>{escape(workdir.name)}</span>'
        for number, workdir in enumerate(workdirs)
        if len(workdirs) == 2
    )
    return f'<nav aria-label="of this page"><div>{links}</div>{choice}{whose}</nav>'


def _named(
    workdir: WorkdirRecord, markup: str, workdirs: Sequence[WorkdirRecord], level=3
) -> str:
    """Under the workdir's name, where there are two."""
    if not markup or len(workdirs) == 1:
        return markup
    return f"<section><h{level}>{escape(workdir.name)}</h{level}>{markup}</section>"


def _section(name: str, markup: str) -> str:
    return f'<section><h2 id="{_anchor(name)}">{escape(name)}</h2>{markup}</section>'


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _axes(axes: Sequence[Axis]) -> str:
    """JSON for the script: view -> [stage, last step, left, right] of its stages."""
    plain = {
        axis.name: [[s.stage, s.last, s.left, s.right] for s in axis.spans]
        for axis in axes
    }
    return json.dumps(plain).replace("<", "\\u003c")
