"""Pages and picture that are made from the code: what is committed is up to date."""

import dataclasses
import re
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.config import section_types
from anchoredit_jax.stages.table import STAGES
from docs.make import PAGES
from docs.making import commands, configuration, picture

DOCS = Path(__file__).parents[1] / "docs"
ROW = re.compile(r"^\| `([\w.]+)` \| (.+) \| (.*) \| ([\w ]+) \| (.*) \|$", re.M)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name):
    fresh = PAGES[name]()
    assert (DOCS / name).read_text() == fresh, "run: python docs/make.py"


def fields(cls, where):
    """(dataclass, dotted name, what it decides) of a section and of those in it."""
    for field in dataclasses.fields(cls):
        name = f"{where}.{field.name}"
        if "decides" in field.metadata:
            yield cls, name, field.metadata["decides"]
        else:
            hint = typing.get_type_hints(cls)[field.name]
            (inner,) = filter(dataclasses.is_dataclass, (hint, *typing.get_args(hint)))
            yield from fields(inner, name)


def test_every_field_of_every_stage_is_told_once():
    known = {
        field
        for stage in STAGES
        for section, cls in section_types(stage).items()
        for field in fields(cls, section)
    }
    rows = ROW.findall((DOCS / "configuration.md").read_text())
    told = [(name, decides) for name, _, _, decides, _ in rows if "." in name]
    assert sorted(told) == sorted((name, decides) for _, name, decides in known)
    assert len(told) > 150
    for name, kind, _, _, meaning in rows:
        assert kind and re.match(r"[\w\[\"(].{4}", meaning), name


def test_a_field_without_a_meaning_has_an_empty_cell():
    class Section:
        """Two fields, one of which is explained.

        Attributes:
          first, second: told at once, on a line
            and a half.
        """

    told = configuration.meanings(Section)
    assert told == dict.fromkeys(
        ("first", "second"), "told at once, on a line and a half."
    )


def test_every_command_is_told():
    page = (DOCS / "commands.md").read_text()
    for script in (DOCS.parent / "launch").glob("*.*"):
        if "__main__" in script.read_text() or script.name in commands.SHELL:
            assert f"\n## {script.name}\n" in page
    assert "\n### reproduce.py matrix\n" in page
    assert "`configs/reproduce.py`" in page and str(DOCS.parent) not in page
    assert re.search(r"^\| `--from-step N` \|  \| go on at this checkpoint", page, re.M)


def test_the_picture_shows_both_sessions_turn_by_turn():
    red, blue = (255, 0, 0), (0, 0, 255)
    images = {colour: np.full((8, 8, 3), colour, np.uint8) for colour in (red, blue)}
    sessions = [[images[red], images[red]], [images[blue], images[red]]]
    frames = picture.draw_frames(sessions, ["make it red"])
    assert len(frames) == 2
    middle = picture.SIDE // 2
    left, right = (
        (picture.GAP + middle + number * (picture.SIDE + picture.GAP), middle)
        for number in (0, 1)
    )
    assert frames[0].getpixel(left) == red and frames[0].getpixel(right) == blue
    assert frames[1].getpixel(right) == red


def test_the_committed_picture_is_the_quickstarts_session():
    """Twelve turns; in the last one the subject is near the source with the anchor, and
    far from it without."""
    path = DOCS / "session.webp"
    assert path.stat().st_size < 1_500_000
    with Image.open(path) as shown:
        assert shown.n_frames == 1 + len(picture.instructions()) == 13
        shown.seek(0)
        first = np.asarray(shown.convert("RGB"), np.float32)
        shown.seek(12)
        last = np.asarray(shown.convert("RGB"), np.float32)
    side, gap = picture.SIDE, picture.GAP
    middle = first.shape[0] // 2
    rows = slice(middle - 50, middle + 50)  # of the face
    errors = []
    for left in (gap, 2 * gap + side):
        columns = slice(left + side // 2 - 40, left + side // 2 + 40)
        errors.append(np.abs(last[rows, columns] - first[rows, columns]).mean())
    assert errors[0] < 15 < 35 < errors[1], errors


def test_every_flag_is_told():
    rows = [line for line in commands.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row for row in rows if not row.rstrip("|").rpartition("|")[2].strip()]
