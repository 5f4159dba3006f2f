"""What the page opens and gives back, and its limits."""

import json
import os
import zipfile

import pytest
from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import EditSession, page_files
from anchoredit_jax.session.branches import Branches
from tests.session.editors import SOURCE, assert_equal_turns, edited


@pytest.fixture
def branches(editor):
    return Branches(edited(editor, ("make it blue", "add a hat", "")))


def test_an_image_is_opened_with_its_seed(editor, tmp_path):
    Image.fromarray(SOURCE).save(tmp_path / "a.png")
    opened = page_files.open_image(editor, tmp_path / "a.png", 5.0)
    assert opened.session.seed == 5 and opened.names == ("main",)
    with pytest.raises(UserError, match="choose an image first"):
        page_files.open_image(editor, None)
    for seed in (1.5, None):
        with pytest.raises(UserError, match="a seed must be a whole number"):
            page_files.open_image(editor, SOURCE, seed)
    with pytest.raises(UserError, match="does not exist"):
        page_files.open_image(editor, tmp_path / "b.png")


def test_a_zip_file_holds_the_branch_and_goes_on_elsewhere(branches, editor, tmp_path):
    branches.branch("night")
    branches.session.undo()
    path = page_files.make_zip(branches, tmp_path)
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
    packed = page_files.make_zip(branches, tmp_path)
    with zipfile.ZipFile(packed) as file:
        file.extract("session.safetensors", tmp_path)
        file.extract("session.json", tmp_path / "apart")
    for path in (packed, tmp_path / "session.safetensors"):
        opened = page_files.open_file(editor, path)
        assert_equal_turns(opened.session.history, branches.session.history)
    with pytest.raises(UserError, match="holds no pictures: give session.safetensors"):
        page_files.open_file(editor, tmp_path / "apart" / "session.json")
    (tmp_path / "b.zip").write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(UserError, match="'b.zip' is not a zip file of a session"):
        page_files.open_file(editor, tmp_path / "b.zip")
    with pytest.raises(UserError, match="choose an image first"):
        page_files.open_file(editor, None)


def test_old_zip_files_are_removed(branches, tmp_path):
    old, young = (page_files.make_zip(branches, tmp_path).parent for _ in range(2))
    os.utime(old, (1, 1))
    page_files.make_zip(branches, tmp_path)
    assert not old.exists() and young.exists()
    with pytest.raises(UserError, match="cannot be written"):
        page_files.make_zip(branches, tmp_path / "gone")


def test_large_images_are_refused_before_they_are_decoded(
    editor, tmp_path, monkeypatch
):
    Image.new("RGB", (6001, 4000)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    said = "6001 x 4000 pixels: the page takes at most 24,000,000; .* launch/edit.py"
    with pytest.raises(UserError, match=said):
        page_files.open_file(editor, tmp_path / "large.png")


def test_one_person_keeps_so_much_and_no_more(branches, editor, tmp_path, monkeypatch):
    page_files.check_room(branches)
    session = tmp_path / "s.safetensors"
    branches.session.save(session)
    monkeypatch.setattr(page_files, "MOST_TURNS", 4)
    branches.branch("other")  # shares all three
    page_files.check_room(branches)
    branches.session.edit("make it red")
    with pytest.raises(UserError, match="at most 4 turns: make a zip file"):
        page_files.check_room(branches)
    monkeypatch.setattr(page_files, "MOST_BRANCHES", 2)
    with pytest.raises(UserError, match="at most 2 branches"):
        page_files.check_room(branches, 0, new_branch=True)
    monkeypatch.setattr(page_files, "MOST_TURNS", 2)
    with pytest.raises(UserError, match="session of 3 turns: the page keeps at most 2"):
        page_files.open_file(editor, session)
