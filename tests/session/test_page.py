"""What the page shows, without the page's library."""

import json
import os
import runpy
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import EditSession, page
from anchoredit_jax.session.branches import Branches
from tests.session.editors import (
    SOURCE,
    assert_equal_turns,
    bucketed_run,
    edited,
    make_editor,
)

THREE = ("make it blue", "add a hat", "")


@pytest.fixture
def branches(editor):
    return Branches(edited(editor, THREE))


def test_an_image_is_opened_with_its_seed(editor, tmp_path):
    Image.fromarray(SOURCE).save(tmp_path / "a.png")
    opened = page.open_image(editor, tmp_path / "a.png", 5.0)
    assert opened.session.seed == 5 and opened.names == ("main",)
    with pytest.raises(UserError, match="choose an image first"):
        page.open_image(editor, None)
    for seed in (1.5, None):
        with pytest.raises(UserError, match="a seed must be a whole number"):
            page.open_image(editor, SOURCE, seed)
    with pytest.raises(UserError, match="does not exist"):
        page.open_image(editor, tmp_path / "b.png")


def test_the_view_shows_source_result_and_where_one_is(branches):
    session = branches.session
    shown = page.view(branches)
    assert np.array_equal(shown.source, SOURCE[2:18])
    assert np.array_equal(shown.result, session.image)
    assert shown.difference.shape == shown.source.shape
    assert shown.selected == 3 and (shown.names, shown.current) == (("main",), "main")
    assert "branch main; turn 3; 16 x 20, edited at 16 x 16" in shown.status
    assert "80.0 % of its pixels kept (16 x 16 from 0, 2)" in shown.status
    assert session.crop.describe() in shown.status  # as scripts and the API tell it


def test_an_image_is_shown_at_its_own_shape(params, tmp_path):
    editor = make_editor(params, run=bucketed_run(16))
    shown = []
    for image in (SOURCE, SOURCE.swapaxes(0, 1)):
        opened = page.open_image(editor, image)
        opened.session.edit("make it blue")
        shown.append(page.view(opened))
        page.make_zip(opened, tmp_path)
    sizes = ((20, 15), (192, 144)), ((15, 20), (144, 192))
    for view, (whole, small) in zip(shown, sizes, strict=True):
        assert [image.shape[:2] for image, _ in view.strip] == [small] * 2
        for part in (view.source, view.result, view.difference):
            assert part.shape == (*whole, 3)
    assert "16 x 20, edited at 12 x 16, 93.7 % of its" in shown[0].status
    assert "20 x 16, edited at 16 x 12, 93.7 % of its" in shown[1].status


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
    assert "; the source; " in page.describe(branches)


def test_the_heat_map_is_black_where_nothing_changed_and_grows():
    source = np.full((4, 4, 3), 100, np.uint8)
    image = source.copy()
    image[0, 1], image[0, 2], image[0, 3] = 110, 20, 255
    heat = page.heat_map(source, image).astype(int).sum(-1)
    assert (heat[1:] == 0).all() and 0 == heat[0, 0] < heat[0, 1] < heat[0, 2]
    assert heat[0, 2] < heat[0, 3]
    far = page.heat_map(source, np.full_like(source, 228 + 27))
    assert (far == page.heat_map(source, np.full_like(source, 228))).all()  # the scale


def test_drift_is_the_mean_difference_from_the_source(branches):
    turns = branches.session.history
    values = page.drift(turns)
    assert values[0] == 0 and len(values) == 4
    apart = np.abs(turns[2].pixels.astype(int) - turns[0].pixels).mean()
    assert values[2] == pytest.approx(apart)
    line = page.plot_drift(branches.session).axes[0].get_lines()[0]
    np.testing.assert_allclose(line.get_ydata(), values)


def test_a_zip_file_holds_the_branch_and_goes_on_elsewhere(branches, editor, tmp_path):
    branches.branch("night")
    branches.session.undo()
    path = page.make_zip(branches, tmp_path)
    assert path.name == "anchoredit_night_2_turns.zip"
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "out")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"turn_00.png", "turn_01.png", "turn_02.png", "model_size",
                     "contact_sheet.png", "session.json",
                     "session.safetensors"}  # fmt: skip
    record = json.loads((tmp_path / "out" / "session.json").read_text())
    assert record["branch"] == "night" and len(record["turns"]) == 2
    loaded = EditSession.load(tmp_path / "out" / "session.safetensors", editor)
    assert_equal_turns(loaded.history, branches.session.history)


def test_saved_sessions_are_opened(branches, editor, tmp_path):
    packed = page.make_zip(branches, tmp_path)
    with zipfile.ZipFile(packed) as file:
        file.extract("session.safetensors", tmp_path)
        file.extract("session.json", tmp_path / "apart")
    for path in (packed, tmp_path / "session.safetensors"):
        opened = page.open_file(editor, path)
        assert_equal_turns(opened.session.history, branches.session.history)
    with pytest.raises(UserError, match="holds no pictures: give session.safetensors"):
        page.open_file(editor, tmp_path / "apart" / "session.json")
    (tmp_path / "b.zip").write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(UserError, match="'b.zip' is not a zip file of a session"):
        page.open_file(editor, tmp_path / "b.zip")
    with pytest.raises(UserError, match="choose an image first"):
        page.open_file(editor, None)


def test_what_a_stranger_sends_is_refused(branches):
    layout = pytest.importorskip("anchoredit_jax.session.page_layout")
    sent = types.SimpleNamespace
    for action, given in (
        (layout._edit, (branches, None)),
        (layout._edit, ("foreign", "make it blue")),
        (layout._undo, ([],)),
        (layout._switch, (branches, ["main"])),
        (layout._goto, (branches, sent(_data=None))),
        (layout._goto, (branches, sent(_data={"index": [1, 2]}))),
        (layout._goto, (branches, sent(_data={"index": 99}))),
    ):
        with pytest.raises(UserError, match="must be|is a|has a|no image|no turn"):
            action(*given)
    for seed in ("x", [1], float("nan"), float("inf")):
        with pytest.raises(UserError, match="a seed must be"):
            page.open_image(branches.session.editor, SOURCE, seed)


def test_old_zip_files_are_removed(branches, tmp_path):
    old, young = (page.make_zip(branches, tmp_path).parent for _ in range(2))
    os.utime(old, (1, 1))
    page.make_zip(branches, tmp_path)
    assert not old.exists() and young.exists()
    with pytest.raises(UserError, match="cannot be written"):
        page.make_zip(branches, tmp_path / "gone")


def test_the_logic_does_not_need_the_page_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "view" in runpy.run_path(page.__file__)


def test_large_images_are_refused_before_they_are_decoded(
    editor, tmp_path, monkeypatch
):
    Image.new("RGB", (6001, 4000)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    said = "6001 x 4000 pixels: the page takes at most 24,000,000; .* launch/edit.py"
    with pytest.raises(UserError, match=said):
        page.open_file(editor, tmp_path / "large.png")


def test_what_is_shown_is_bounded(branches, monkeypatch):
    monkeypatch.setattr(page, "LARGEST_SHOWN", 8)
    shown = page.view(branches)
    assert shown.source.shape == shown.result.shape == shown.difference.shape
    assert shown.source.shape == (8, 8, 3)


def test_one_person_keeps_so_much_and_no_more(branches, editor, tmp_path, monkeypatch):
    page.check_room(branches)
    session = tmp_path / "s.safetensors"
    branches.session.save(session)
    monkeypatch.setattr(page, "MOST_TURNS", 4)
    branches.branch("other")  # shares all three
    page.check_room(branches)
    branches.session.edit("make it red")
    with pytest.raises(UserError, match="at most 4 turns: make a zip file"):
        page.check_room(branches)
    monkeypatch.setattr(page, "MOST_BRANCHES", 2)
    with pytest.raises(UserError, match="at most 2 branches"):
        page.check_room(branches, turn=False)
    monkeypatch.setattr(page, "MOST_TURNS", 2)
    with pytest.raises(UserError, match="session of 3 turns: the page keeps at most 2"):
        page.open_file(editor, session)


@pytest.mark.parametrize("text", ["x" * 5000, "word " * 200_000, "\ud800 blue"])
def test_a_text_that_nobody_reads_costs_nothing_and_leaves_the_session(branches, text):
    before = branches.session.history
    with pytest.raises(UserError, match="characters: at most 4096|Unicode") as caught:
        branches.session.edit(text)
    assert len(str(caught.value)) < 500
    assert branches.session.history == before
    branches.session.edit("make it red")
