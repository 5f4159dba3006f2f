"""What a release says of itself in several places is one thing."""

import re
from pathlib import Path

from anchoredit_jax.version import __version__

ROOT = Path(__file__).parents[1]


def test_the_version_is_the_same_everywhere():
    cited = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", cited, re.MULTILINE) == [__version__]
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    number, said = sections[0].split(" ", 1)
    assert number == __version__
    day = re.fullmatch(r"\((\d{4}-\d\d-\d\d)\)", said)
    released = re.findall(r"^date-released: (.+)$", cited, re.MULTILINE)
    assert said == "(unreleased)" and not released or day and [day[1]] == released


def test_the_hosted_checks_are_those_of_everybody():
    (workflow,) = (ROOT / ".github" / "workflows").glob("*.yml")
    run = re.findall(r"run: bash (\S+)", workflow.read_text())
    assert run == [".ci/run", "launch/quickstart.sh"]
    assert all((ROOT / script).is_file() for script in run)
    # Every Python that the package says it works on, and no other.
    tried = re.search(r"python: \[(.+)\]", workflow.read_text())
    assert tried and tried[1] == '"3.11", "3.12", "3.13"'
    assert 'python_requires=">=3.11"' in (ROOT / "setup.py").read_text()
