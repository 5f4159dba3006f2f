"""Packing: what is read back is what was read, and shards appear whole."""

import dataclasses
import io
import json
import tarfile

import pytest
from PIL import Image

from anchoredit_jax.data.sessions import (
    LIST_NAME,
    Dropped,
    RawSession,
    list_parts,
    pack,
    pack_sessions,
    read_part,
)
from anchoredit_jax.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
KEYS = ["a", "a b", "日本.x", "frame_1", "ß" * 70]


def encode(form, shade):
    out = io.BytesIO()
    Image.new("RGB", (12, 10), (shade, 30, 90)).save(out, form)
    return out.getvalue()


def write_session(root, key, shade=0, language="en"):
    folder = root / key
    folder.mkdir(parents=True)
    for n, form in enumerate(FORMATS):  # all are called png; the content decides
        (folder / f"frame_{n}.png").write_bytes(encode(form, shade + n))
    turns = [{language: f"turn {n} é", "zh": "甲"} for n in range(3)]
    (folder / f"{key}.json").write_text(json.dumps({"instructions": turns}))


@pytest.fixture
def source(tmp_path):
    for n, key in enumerate(KEYS):
        write_session(tmp_path / "source", key, 10 * n)
    return tmp_path / "source"


def read(source, languages):
    found = [x for part in list_parts(source) for x in read_part(part, languages)]
    assert all(isinstance(x, RawSession) for x in found)
    return [dataclasses.replace(x, origin="") for x in found]


@pytest.mark.parametrize("languages", [("en",), ("zh", "en")])
def test_what_is_read_back_is_what_was_read(tmp_path, source, languages):
    shards = pack_sessions(source, tmp_path / "out", 2, languages)
    assert [shard.name for shard in shards] == [
        f"sessions-0000{n}.tar" for n in range(3)
    ]
    listed = tmp_path / "out" / LIST_NAME
    assert json.loads(listed.read_text())["resolved_files"] == [
        shard.name for shard in shards
    ]
    before = read(source, languages)
    assert len(before) == len(KEYS)
    assert read(listed, languages) == before
    assert read(tmp_path / "out", languages) == before
    again = pack_sessions(listed, tmp_path / "again", 2, languages)
    for one, two in zip(shards, again, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_headers_are_ascii_and_always_the_same(tmp_path, source):
    (shard,) = pack_sessions(source, tmp_path / "out")
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {
        (0, 0, 0, "", "")
    }
    names = [m.name for m in members if m.name.startswith("a.")]
    assert names == ["a.json", "a.0.png", "a.1.jpg", "a.2.webp", "a.3.png"]
    data = shard.read_bytes()
    for member in members:
        assert data[member.offset_data - 512 : member.offset_data - 412].isascii()


def test_what_is_left_out_is_told(tmp_path, source):
    (source / "a" / "frame_1.png").write_bytes(b"")
    first = pack_sessions(source, tmp_path / "out")[0]
    first.rename(source / "b.tar")  # the same ids once more, in a part of their own
    dropped = []
    shards = pack_sessions(source, tmp_path / "new", on_drop=dropped.append)
    assert all(isinstance(x, Dropped) for x in dropped)
    assert sorted((x.key, x.reason) for x in dropped) == sorted(
        [("a", "damaged image"), *((key, "duplicate") for key in KEYS[1:])]
    )
    assert len(read(shards[0], ("en",))) == len(KEYS) - 1


def test_an_interrupted_call_leaves_whole_shards_and_no_list(
    tmp_path, source, monkeypatch
):
    whole, out = pack_sessions(source, tmp_path / "whole", 2), tmp_path / "out"

    def interrupted(session, members=pack._members):
        if session.key == "日本.x":
            raise KeyboardInterrupt
        return members(session)

    with monkeypatch.context() as patch:
        patch.setattr(pack, "_members", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack_sessions(source, out, 2)
    left = sorted(path.name for path in out.iterdir())
    assert left == sorted([pack.CLAIM, *(shard.name for shard in whole[:2])])
    for shard, again in zip(whole, pack_sessions(source, out, 2), strict=True):
        assert shard.read_bytes() == again.read_bytes()


def test_refusals(tmp_path, source):
    pack_sessions(source, tmp_path / "out")
    with pytest.raises(UserError, match="holds packed sessions already"):
        pack_sessions(source, tmp_path / "out")
    (tmp_path / "out" / LIST_NAME).unlink()
    for place in (tmp_path / "out", tmp_path / "out" / "sub"):
        with pytest.raises(UserError, match="where the source is"):
            pack_sessions(tmp_path / "out", place)
    with pytest.raises(UserError, match="where the source is"):
        pack_sessions(tmp_path / "out" / "sessions-00000.tar", tmp_path / "out")
    with pytest.raises(UserError, match="no sound session"):
        pack_sessions(source, tmp_path / "none", languages=("fr",))
    with pytest.raises(UserError, match="sessions_per_shard"):
        pack_sessions(source, tmp_path / "none", 0)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file' is a file; give a folder"):
        pack_sessions(source, tmp_path / "file")
