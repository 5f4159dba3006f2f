"""The recorded numbers come along, so that no comparison is ever left out."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = HERE / "golden"
SIZE = 10_000_000  # bytes, of all: a clone is what everybody has to fetch
TESTS = [path for path in HERE.glob("*.py") if path.name != Path(__file__).name]


def test_every_recording_is_there_and_read():
    text = "\n".join(path.read_text() for path in TESTS)
    named = set(re.findall(r'golden\("(\w+)"\)', text))
    assert {"losses", "vae", "rollout"} <= named
    assert {path.name for path in FOLDER.glob("*.xz")} == {
        f"{name}.safetensors.xz" for name in named
    }
    told = (FOLDER / "README.md").read_text()
    for path in FOLDER.iterdir():
        assert (
            path.stem.partition(".")[0] in text
            and path.name in told
            or (path.name == "README.md")
        )
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= SIZE


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_nothing_is_skipped_for_want_of_them(path):
    """Packages of peers may be absent (`importorskip`); numbers never are."""
    assert not re.search(r"\bskip\(|skipif|xfail", path.read_text())
