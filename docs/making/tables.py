"""Tables and text in Markdown that GitHub and MkDocs show alike."""

import re
from collections.abc import Iterable, Sequence

NOTE = (
    "<!-- Written by `python docs/make.py`: change what it is made from instead. -->\n"
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """A name or value as it is written; "" stays empty."""
    return f"`{text}`" if text else ""


def cell(text: str) -> str:
    """Plain text on one line, with nothing in it that Markdown would take for its own.

    What stands between backticks stays as it is.
    """
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    escaped = [
        part if part.startswith("`") else re.sub(r"([*|<>])", r"\\\1", part)
        for part in parts
    ]
    return "".join(escaped)
