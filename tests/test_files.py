"""Files and folders appear whole or not at all; a folder knows whose it is."""

import hashlib

import pytest

from anchoredit_jax import files
from anchoredit_jax.errors import UserError


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    place = tmp_path / "new" / "a.txt"
    files.write_text(place, "whole")
    with pytest.raises(ZeroDivisionError), files.appearing(place) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert place.read_text() == "whole"
    assert list(place.parent.iterdir()) == [place]


def test_a_folder_appears_with_all_that_is_in_it(tmp_path):
    left = tmp_path / ".out.anchoredit_partial"  # of an interrupted run
    left.mkdir()
    (left / "half").touch()
    with files.appearing(tmp_path / "out") as temporary:
        temporary.mkdir()
        (temporary / "a").touch()
        assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_may_write_the_same_file_at_once(tmp_path):
    place = tmp_path / "a.txt"
    with files.appearing(place, shared=True) as first:
        first.write_text("first")
        with files.appearing(place, shared=True) as second:
            second.write_text("second")
        assert place.read_text() == "second"
    assert place.read_text() == "first"
    assert list(tmp_path.iterdir()) == [place]


def test_a_folder_of_other_settings_is_refused_by_name(tmp_path):
    settings = {"seed": 1, "sizes": (8, 8)}
    for _ in range(2):
        files.claim(tmp_path / "a", "about.json", settings, "use another")
    for other in (settings | {"seed": 2}, {"sizes": (8, 8)}):
        with pytest.raises(UserError, match="another seed .seed: 1, now .*: use anoth"):
            files.claim(tmp_path / "a", "about.json", other, "use another")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; give a folder"):
        files.claim(tmp_path / "file", "about.json", settings, "use another")


def test_digests_are_of_all_parts_together():
    whole = hashlib.sha256(b"ab").hexdigest()
    assert files.sha256(b"a", b"b") == whole
    assert files.sha256(b"ab", digits=16) == whole[:16]
    assert (
        files.blake2b(b"a", b"b") == hashlib.blake2b(b"ab", digest_size=8).hexdigest()
    )
