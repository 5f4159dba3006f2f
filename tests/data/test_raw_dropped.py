"""Raw sessions that are dropped: every reason, and what lies beside them is kept."""

import os
import tarfile

import pytest
from PIL import Image

from anchoredit_jax.data.sessions import (
    list_parts,
    read_part,
    tar_shards,
)

from .raw_files import (
    PNG,
    encode,
    members,
    only,
    png_header,
    read,
    read_tar,
    write_folder,
    write_tar,
)

BAD_FILES = {
    "missing json": members("bad", document=None),
    "missing image": [members("bad")[i] for i in (0, 2, 3)],
    "wrong count": members("bad", 4),
    "bad json": members("bad", document="{"),
    "no language": members("bad", document='{"instructions": [{"zh": "x"}]}'),
    "damaged image": [*members("bad")[1:], ("bad.0.png", PNG[:45])],
    "too large": [*members("bad")[1:], ("bad.0.png", png_header(30_000, 30_000))],
    "unfit size": members("bad", data=encode(Image.new("RGB", (7, 10)))),
}


@pytest.mark.parametrize("reason", BAD_FILES)
@pytest.mark.parametrize("shard", [True, False])
def test_a_bad_session_is_dropped_and_the_others_are_not(tmp_path, reason, shard):
    files = [*members("a"), *BAD_FILES[reason], *members("z")]
    if shard:
        sessions, dropped = read_tar(tmp_path, files)
    else:
        named = [(f"{name.partition('.')[0]}/{name}", data) for name, data in files]
        sessions, dropped = read(write_folder(tmp_path, named))
    assert list(sessions) == ["a", "z"] and only(dropped) == ("bad", reason)


@pytest.mark.parametrize(
    "document",
    [
        b"\xff\xfe\xfd",
        b"[1]",
        b'"x"',
        b"{}",
        b'{"instructions": "x"}',
        b'{"instructions": {"en": ["a", "b"]}}',
        b'{"edit_prompt": 3}',
        b"[" * 200_000,
        b'{"instructions": ' + b"9" * 6000 + b"}",
    ],
)
def test_documents_of_another_shape(tmp_path, document):
    files = [*members("a", document=None), ("a.json", document)]
    assert only(read_tar(tmp_path, files)[1]) == ("a", "bad json")


def test_counts(tmp_path):
    files = [
        *members("none", 0),
        *members("few", 2),
        *members("x", 1, '{"edit_prompt": []}'),
    ]
    sessions, dropped = read_tar(tmp_path, files)
    assert not sessions
    assert {(x.key, x.reason) for x in dropped} == {
        ("none", "missing image"),
        ("few", "wrong count"),
        ("x", "wrong count"),
    }


def test_an_image_too_many_is_noticed_after_the_document(tmp_path):
    files = [*members("a"), ("a.3.png", PNG), *members("b")]
    sessions, dropped = read_tar(tmp_path, files)
    assert list(sessions) == ["b"] and only(dropped) == ("a", "wrong count")
    late = [*members("a"), ("a.7.png", PNG), *members("b")]
    assert only(read_tar(tmp_path, late)[1])[0] == "a"


def test_the_second_of_two_sessions_is_dropped(tmp_path):
    for between in ([], members("b")):
        files = [*members("a"), *between, *members("a", data=encode(form="WEBP"))]
        sessions, dropped = read_tar(tmp_path, files)
        assert sessions["a"].images == (PNG,) * 3
        assert only(dropped) == ("a", "duplicate")
    files = [members("a")[0], *members("a"), *members("b")]
    sessions, dropped = read_tar(tmp_path, files)
    assert list(sessions) == ["b"] and only(dropped) == ("a", "duplicate")


def test_duplicates_in_a_folder(tmp_path):
    write_folder(tmp_path / "a", [*members("a"), ("frame_1.png", PNG)])
    write_folder(tmp_path / "b", [(f"frame_{n}.png", PNG) for n in range(3)])
    write_folder(tmp_path / "b", [("x.json", b"{}"), ("y.json", b"{}")])
    write_folder(tmp_path / "c", [*members("c"), ("meta.json", b"{}")])
    sessions, dropped = read(tmp_path)
    assert list(sessions) == ["c"]  # its own document counts, the other is reported
    assert [(x.key, x.reason) for x in dropped] == [
        ("a", "duplicate"),
        ("b", "duplicate"),
        ("c/meta.json", "unknown file"),
    ]


@pytest.mark.parametrize(
    "name",
    ["/a.0.png", "../a.0.png", "a/../../b.0.png", "x\\..\\b.0.png", "C:\\b.0.png"]
    + ["x/...0.png", "...json", "x" * 2000 + ".0.png", "/", "a\udcff.0.png"],
)
def test_unsafe_names(tmp_path, name):
    sessions, dropped = read_tar(tmp_path, [(name, PNG), *members("a")])
    assert list(sessions) == ["a"] and only(dropped)[1] == "unsafe name"


def test_unknown_files(tmp_path):
    names = ["read.me", "inner.tar", "frame_0.png", ".0.png", ".json", "._a.0.png"]
    names += ["a.x.png", "a.٣.png", "b/._c/frame_0.png", "a.0.gif"]
    files = [(name, PNG) for name in names]
    pipe = tarfile.TarInfo("p.0.png")
    pipe.type = tarfile.FIFOTYPE
    sessions, dropped = read_tar(tmp_path, [*files, pipe, *members("a")])
    assert list(sessions) == ["a"]
    assert [x.key for x in dropped] == [*names, "p"]
    assert {x.reason for x in dropped} == {"unknown file"}


def test_links_are_not_followed(tmp_path):
    files = members("a")
    for name, kind in (("b.0.png", tarfile.SYMTYPE), ("c.0.png", tarfile.LNKTYPE)):
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, "a.0.png"
        files += [link, *members(name[0])[1:]]
    sessions, dropped = read_tar(tmp_path, files)
    assert list(sessions) == ["a"]
    assert [(x.key, x.reason) for x in dropped] == [("b", "link"), ("c", "link")]


def test_links_pipes_and_folders_in_folders(tmp_path):
    root = tmp_path / "root"
    good = write_folder(root / "a", members("a"))
    (good / "sub").mkdir()
    (root / "b").symlink_to(good)
    write_folder(root / "c", members("c")[1:])
    (root / "c" / "c.0.png").symlink_to(good / "a.0.png")
    write_folder(root / "d", members("d")[1:])
    os.mkfifo(root / "d" / "d.0.png")
    write_folder(root / "e", [*members("a"), *members("e")])
    sessions, dropped = read(root)
    assert list(sessions) == ["a", "e"]
    assert [(x.key, x.reason) for x in dropped] == [
        ("a/sub", "unknown file"),
        ("b", "link"),
        ("c", "link"),
        ("d", "unknown file"),
        *((f"e/a.{n}.png", "unknown file") for n in range(3)),
        ("e/a.json", "unknown file"),
    ]


def test_a_folder_that_is_gone_is_reported(tmp_path):
    write_folder(tmp_path / "a", members("a"))
    (part,) = list_parts(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    (dropped,) = read_part(part)
    assert (dropped.key, dropped.reason) == ("a", "unreadable")


def test_large_files_are_not_read(tmp_path):
    files = [*members("a"), ("b.0.png", PNG + b"\0" * 2000), *members("b")[1:]]
    sessions, dropped = read_tar(tmp_path, files, max_image_bytes=1000)
    assert list(sessions) == ["a"] and only(dropped) == ("b", "too large")
    for name, data in files:
        write_folder(tmp_path / "root" / name[0], [(name, data)])
    sessions, dropped = read(tmp_path / "root", max_image_bytes=1000)
    assert list(sessions) == ["a"] and only(dropped) == ("b", "too large")


def test_too_many_open_sessions(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_shards, "MAX_OPEN", 3)
    firsts = [(f"{n}.0.png", PNG) for n in range(5)]
    rests = [file for n in range(5) for file in members(str(n))[1:]]
    sessions, dropped = read_tar(tmp_path, [*firsts, *rests])
    assert list(sessions) == ["2", "3", "4"]
    assert [(x.key, x.reason) for x in dropped] == [
        ("0", "scattered"),
        ("1", "scattered"),
    ]
    monkeypatch.setattr(tar_shards, "MAX_SESSION_BYTES", 2 * len(PNG))
    assert only(read_tar(tmp_path, members("a"))[1]) == ("a", "too large")


def test_truncated_shards_give_what_was_complete(tmp_path):
    path = write_tar(tmp_path / "a.tar", [*members("a"), *members("b")])
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    for cut in range(512, end + 512, 256):
        path.write_bytes(whole[:cut])
        sessions, dropped = read(path)
        # Four files of a header and a block of content each; the last is half full.
        assert list(sessions) == ["a", "b"][: (cut + 256) // 4096]
        assert dropped[0].reason == "truncated shard" and "a.tar" in dropped[0].detail
        assert {x.key for x in dropped[1:]} <= {"a", "b"}


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 10240, b"garbage" * 999, b"\x1f\x8b\x08" + b"x" * 2000]
)
def test_what_is_no_shard_is_reported(tmp_path, data):
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    assert only(read(path)[1]) == ("a.tar", "damaged shard")


def test_a_damaged_header_ends_the_shard(tmp_path):
    path = write_tar(tmp_path / "a.tar", [*members("a"), *members("b")])
    whole = path.read_bytes()
    for damage in (b"\xff" * 512, b"\0" * 512):
        path.write_bytes(whole[:4096] + damage + whole[4608:])
        sessions, dropped = read(path)
        assert list(sessions) == ["a"] and only(dropped) == ("a.tar", "damaged shard")


def test_reading_a_long_shard_keeps_little(tmp_path):
    files = [file for n in range(300) for file in members(str(n))]
    write_tar(tmp_path / "a.tar", files)
    (part,) = list_parts(tmp_path)
    first = next(read_part(part))  # before the rest of the shard was read
    assert first.key == "0"
