"""The site of the documentation: it is built, and without a warning."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# launch/test.sh installs both.
pytest.importorskip("mkdocs", reason="needs the extra [docs]")
pytest.importorskip("material", reason="needs the extra [docs]")

from docs.making.hook import in_docs  # noqa: E402  (it imports MkDocs)

ROOT = Path(__file__).parents[1]


def test_it_is_built_without_warnings(tmp_path):
    """Strictly: no dead link or heading, and no page that the menu lacks."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"],
        cwd=ROOT,
        env=dict(os.environ, NO_MKDOCS_2_WARNING="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    front = (tmp_path / "site" / "index.html").read_text()
    assert "session.webp" in front and 'href="train/' in front
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    made = {page.parent.name for page in (tmp_path / "site").glob("*/index.html")}
    assert pages | {"contributing", "changelog"} <= made
    assert not [*(tmp_path / "site").rglob("*.py")]


def test_links_of_the_root_lead_to_pages_of_the_site():
    text = "[a](docs/train.md#x), ![b](docs/session.webp), [c](CONTRIBUTING.md)"
    assert in_docs(text) == "[a](train.md#x), ![b](session.webp), [c](contributing.md)"
