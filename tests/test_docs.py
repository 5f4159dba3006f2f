"""The pages of the documentation: their links, and what docstrings cite of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CITATION = re.compile(r"docs/method\.md, ([A-Z][\w ,]*)")


def headings(page: Path) -> set[str]:
    """The headings of a page, as they are written."""
    text = FENCED.sub("", page.read_text())
    return set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))


def anchor(heading: str) -> str:
    """What a link to a heading ends in."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def extras_of_setup() -> list[str]:
    """The extras' names."""
    told = (ROOT / "setup.py").read_text().partition("extras_require")[2]
    return re.findall(r'^        "(\w+)": \[', told, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        path, _, place = link.partition("#")
        if re.match(r"[a-z]+:", path):  # another site's
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if place:
            assert place in {anchor(heading) for heading in headings(target)}, link


def test_docstrings_cite_headings_that_exist():
    known = headings(ROOT / "docs" / "method.md")
    for folder in ("anchoredit_jax", "configs", "launch", "benchmarks", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            text = re.sub(r"\s*\n\s*(# )?", " ", file.read_text())
            for cited in CITATION.findall(text):
                for heading in re.split(r", | and ", cited.strip(" ,")):
                    assert heading in known, f"{file.relative_to(ROOT)}: {heading!r}"


def test_the_readme_is_read_in_five_minutes():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_troubleshooting_quotes_messages_that_there_are():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    ours = page.partition("## Messages of these commands")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| `(.+?)` \|", ours, re.MULTILINE)
    sources = [
        file.read_text()
        for folder in ("anchoredit_jax", "configs", "launch")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".sh")
    ]
    assert len(quoted) > 15
    for message in quoted:
        assert any(message in source for source in sources), message


def test_every_extra_is_told():
    table = (ROOT / "docs" / "start.md").read_text()
    extras = extras_of_setup()
    assert len(extras) > 5
    for extra in extras:
        assert f"\n| `{extra}` |" in table, extra
