"""A hook of MkDocs: pages at the root of the repository are pages of the site too.

README.md is the front page. Links between these pages and docs/ are written as GitHub
follows them; here they are turned into those of the site.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
OF_THE_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root, and the notebooks."""
    for name, page in OF_THE_ROOT.items():
        text = in_docs((ROOT / name).read_text())
        files.append(File.generated(config, page, content=text))
    for path in NOTEBOOKS.glob("*.ipynb"):
        files.append(File.generated(config, path.name, content=path.read_bytes()))
    return files


def on_page_markdown(text: str, **_: Any) -> str:
    """Links of docs/ to the pages of the root."""
    for name, page in OF_THE_ROOT.items():
        text = text.replace(f"](../{name}", f"]({page}")
    return text


def in_docs(text: str) -> str:
    """A page of the root as it would be written in docs/."""
    text = re.sub(r"\]\((docs|notebooks)/", "](", text)
    for name, page in OF_THE_ROOT.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text
