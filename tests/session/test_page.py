"""What the page shows, without the page's library."""

import runpy
import sys

import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import page, page_files
from anchoredit_jax.session.branches import Branches
from tests.session.editors import SOURCE, bucketed_run, edited, make_editor

THREE = ("make it blue", "add a hat", "")


@pytest.fixture
def branches(editor):
    return Branches(edited(editor, THREE))


def test_the_view_shows_source_result_and_where_one_is(branches):
    session = branches.session
    shown = page.view(branches)
    assert np.array_equal(shown.source, SOURCE[2:18])
    assert np.array_equal(shown.result, session.image)
    assert shown.difference.shape == shown.source.shape
    assert shown.selected == 3 and (shown.names, shown.current) == (("main",), "main")
    assert shown.status == "branch main; turn 3, seed 0"
    assert shown.details == (
        "16 x 20, edited at 16 x 16, 80.0 % of its pixels kept (16 x 16 from 0, 2); "
        "2 steps, guidance 1; sink 1 + window 2"
    )
    assert shown.drift.whole[0] == 0 and len(shown.drift.whole) == 4


def test_an_image_is_shown_at_its_own_shape(params, tmp_path):
    editor = make_editor(params, run=bucketed_run(16))
    shown = []
    for image in (SOURCE, SOURCE.swapaxes(0, 1)):
        opened = page_files.open_image(editor, image)
        opened.session.edit("make it blue")
        shown.append(page.view(opened))
        page_files.make_zip(opened, tmp_path)
    sizes = ((20, 15), (192, 144)), ((15, 20), (144, 192))
    for view, (whole, small) in zip(shown, sizes, strict=True):
        assert [image.shape[:2] for image, _ in view.strip] == [small] * 2
        for part in (view.source, view.result, view.difference):
            assert part.shape == (*whole, 3)
    assert "16 x 20, edited at 12 x 16, 93.7 % of its" in shown[0].details
    assert "20 x 16, edited at 16 x 12, 93.7 % of its" in shown[1].details


def test_the_strip_keeps_undone_turns_until_the_next_edit(branches):
    session = branches.session
    session.undo(2)
    shown = page.view(branches)
    captions = [text for _, text in shown.strip]
    assert captions == ["source", "1. make it blue", "2. add a hat (undone)",
                        "3. (no instruction) (undone)"]  # fmt: skip
    assert shown.selected == 1 and "2 undone" in shown.status
    assert np.array_equal(shown.result, session.history[1].image)
    for (small, _), turn in zip(shown.strip, session.turns, strict=True):
        assert np.array_equal(small[::12, ::12], turn.pixels)
    session.edit("make it red")
    assert [text for _, text in page.strip(session)][2:] == ["2. make it red"]
    session.goto(0)
    assert page.describe(branches).startswith("branch main; the source; 2 undone")


def test_the_heat_map_is_black_where_nothing_changed_and_grows():
    source = np.full((4, 4, 3), 100, np.uint8)
    image = source.copy()
    image[0, 1], image[0, 2], image[0, 3] = 110, 20, 255
    heat = page.heat_map(source, image).astype(int).sum(-1)
    assert (heat[1:] == 0).all() and 0 == heat[0, 0] < heat[0, 1] < heat[0, 2]
    assert heat[0, 2] < heat[0, 3]
    far = page.heat_map(source, np.full_like(source, 228 + 27))
    assert (far == page.heat_map(source, np.full_like(source, 228))).all()  # the scale


def test_the_logic_does_not_need_the_page_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "view" in runpy.run_path(page.__file__)


def test_what_is_shown_is_bounded(branches, monkeypatch):
    monkeypatch.setattr(page, "LARGEST_SHOWN", 8)
    shown = page.view(branches)
    assert shown.source.shape == shown.result.shape == shown.difference.shape
    assert shown.source.shape == (8, 8, 3)


@pytest.mark.parametrize("text", ["x" * 5000, "word " * 200_000, "\ud800 blue"])
def test_a_text_that_nobody_reads_costs_nothing_and_leaves_the_session(branches, text):
    before = branches.session.history
    with pytest.raises(UserError, match="characters: at most 4096|Unicode") as caught:
        branches.session.edit(text)
    assert len(str(caught.value)) < 500
    assert branches.session.history == before
    branches.session.edit("make it red")
