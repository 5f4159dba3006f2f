"""Web pages that need no other file and no network: their frame, pictures, colours."""

import base64
from html import escape
from pathlib import Path

# Of curves, told apart by people who see few colours too (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_OURS = '<meta name="generator" content="anchoredit_jax">'

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


def whole_page(title: str, body: str, style: str = "", script: str = "") -> str:
    """An HTML document, in light and dark as its reader prefers.

    Args:
      title: plain text.
      body: markup.
      style, script: what the page adds to the style of all, and runs when it is read.
    """
    ran = f"\n<script>\n{script}\n</script>" if script else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"{_OURS}\n"
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n{style}</style></head>\n"
        f"<body>\n{body}{ran}\n</body></html>\n"
    )


def is_our_page(path: Path) -> bool:
    """Whether a file is a page that `whole_page` made."""
    with open(path, "rb") as file:
        return _OURS.encode() in file.read(200)


def png_uri(path: Path) -> str:
    """A PNG file as an address that holds all of it."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
