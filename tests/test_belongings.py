"""A folder knows which of its files are its own, and leaves all others alone."""

import os

import pytest

from anchoredit_jax import files
from anchoredit_jax.belongings import NAME, Belongings
from anchoredit_jax.errors import UserError


def write(folder, **texts):
    made = folder.parent / "made"
    for name, text in texts.items():
        path = made / f"{name}.txt" if name != "inner" else made / "sub" / "inner.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    Belongings(folder, "go elsewhere").take(made)
    for path in made.rglob("*.txt"):
        path.unlink()


def test_own_files_are_replaced_and_removed(tmp_path):
    folder = tmp_path / "out"
    write(folder, a="1", b="1", inner="1")
    write(folder, a="2")
    assert (folder / "a.txt").read_text() == "2"
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    assert left == {"a.txt", NAME}


@pytest.mark.parametrize("change", ["changed", "a link", "a folder", "beside", "none"])
def test_what_belongs_to_others_is_named_and_stays(tmp_path, change):
    folder = tmp_path / "out"
    write(folder, a="1", inner="1")
    path = folder / "a.txt"
    if change == "changed":
        path.write_text("mine")
    elif change == "a link":
        path.unlink()
        path.symlink_to(folder / "sub" / "inner.txt")
    elif change == "a folder":
        path.unlink()
        path.mkdir()
    elif change == "beside":
        (folder / "sub" / "mine.txt").touch()
    else:
        (folder / NAME).unlink()
    with pytest.raises(UserError, match="holds other files .*: go elsewhere") as caught:
        Belongings(folder, "go elsewhere").check()
    assert "\n" not in str(caught.value)
    if change not in ("beside",):
        with (
            pytest.raises(UserError, match=r"'a.txt'"),
            Belongings(folder, "go elsewhere").writing("a.txt") as place,
        ):
            place.write_text("2")
        assert not path.is_file() or path.read_text() != "2"
    else:
        write(folder, a="2")  # what nobody needs the place of stays
        assert (folder / "sub" / "mine.txt").exists()


def test_a_file_is_known_whenever_the_writing_stops(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    write(folder, a="1")

    def stop(source, target):
        if str(target).endswith("a.txt"):
            raise KeyboardInterrupt
        return replace(source, target)

    replace = os.replace
    for text in ("2", "3"):  # between the digest and the file, twice
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(files.os, "replace", stop)
            write(folder, a=text)
        assert (folder / "a.txt").read_text() == "1"
        Belongings(folder, "go elsewhere").check()
    write(folder, a="4")
    assert (folder / "a.txt").read_text() == "4"


def test_a_damaged_list_is_told(tmp_path):
    write(tmp_path / "out", a="1")
    for text in ("", "[]", '{"a.txt": 1}'):
        (tmp_path / "out" / NAME).write_text(text)
        with pytest.raises(UserError, match=f"{NAME}.*: go elsewhere"):
            Belongings(tmp_path / "out", "go elsewhere")
