"""Files of sprites: what the readers make of them is what was drawn."""

import dataclasses
import tarfile

import numpy as np
import pytest

from anchoredit_jax.data.images import decode_image
from anchoredit_jax.data.prepared import PreparedSessions, prepare
from anchoredit_jax.data.sprites import files, render, sample_session
from anchoredit_jax.data.sprites.files import FilesConfig, write_sprite_files
from anchoredit_jax.errors import UserError

SHAPES = ((32, 32), (24, 32), (32, 25))
CONFIG = FilesConfig(sessions=30, shapes=SHAPES, seed=4, turns=(3, 6))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("sprites")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "SHARD", 10)
        return write_sprite_files(root / "raw", CONFIG)


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_half_lies_in_shards_and_half_in_folders(written):
    shards = sorted(written.glob("*.tar"))
    assert [shard.name for shard in shards] == [
        "sprites-000000.tar", "sprites-000010.tar",
    ]  # fmt: skip
    assert len([path for path in written.iterdir() if path.is_dir()]) == 15
    with tarfile.open(shards[0]) as tar:
        assert tar.getnames()[0] == "sprite000000.json"


def test_what_is_read_is_what_was_drawn(written):
    report = prepare(written, written.parent / "prepared")
    assert report.kept == 30 and not report.bad
    sessions = PreparedSessions(written.parent / "prepared")
    by_key = {sessions[i].key: sessions[i] for i in range(len(sessions))}
    kinds, turns, shapes = set(), set(), set()
    for index in range(CONFIG.sessions):
        found, expected = by_key[f"sprite{index:06d}"], CONFIG.session(index)
        assert list(found.instructions["en"]) == [e.text for e in expected.edits]
        truth = render(expected.scenes, CONFIG.shape(index))
        images = np.stack([decode_image(data) for data in found.images])
        exact = not CONFIG.is_jpeg(index)
        assert images.shape == truth.shape
        # A JPEG of hard edges is not exact, and close.
        assert np.abs(images.astype(int) - truth).mean() <= (0 if exact else 4)
        kinds.add(exact)
        turns.add(len(expected.edits))
        shapes.add(truth.shape[1:3])
    assert kinds == {True, False} and turns == {3, 4, 5, 6} and shapes == set(SHAPES)


def test_the_same_call_writes_nothing_and_the_same_settings_the_same(
    written, tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "SHARD", 10)
    (tmp_path / ".raw.anchoredit_partial").mkdir()  # of an interrupted run
    (tmp_path / ".raw.anchoredit_partial" / "half").write_text("")
    again = write_sprite_files(tmp_path / "raw", CONFIG)
    assert contents(again) == contents(written)
    (again / "mine").write_text("kept")
    write_sprite_files(again, CONFIG)
    assert (again / "mine").read_text() == "kept"


def test_sessions_can_be_cut_to_their_first_turns():
    whole = [CONFIG.session(index) for index in range(10)]
    cut = dataclasses.replace(CONFIG, first_turns=2)
    for index, session in enumerate(whole):
        assert cut.session(index).edits == session.edits[:2]
        assert cut.session(index).scenes == session.scenes[:3]
        turns = len(session.edits)
        assert session.edits == sample_session(4, index, turns).edits


@pytest.mark.parametrize(
    "change",
    [
        {"sessions": 1},
        {"shapes": ()},
        {"shapes": ((8, 32),)},
        {"turns": (4, 3)},
        {"turns": (0, 3)},
        {"first_turns": 0},
    ],
)
def test_wrong_settings(change):
    with pytest.raises(UserError):
        dataclasses.replace(CONFIG, **change)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "raw").write_text("")
    with pytest.raises(UserError, match="is a file"):
        write_sprite_files(tmp_path / "raw", CONFIG)
