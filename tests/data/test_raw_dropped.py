"""Raw sessions that are dropped: every reason, and what lies beside them is kept."""

import gzip
import os
import tarfile

import pytest
from PIL import Image

from anchoredit_jax.data.prepared import prepare
from anchoredit_jax.data.sessions import (
    list_parts,
    read_part,
    tar_shards,
)
from anchoredit_jax.errors import UserError

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
    names = ["read.me", "inner.tar", "frame_0.png", "a.x.png", "a.٣.png", "a.0.gif"]
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


@pytest.mark.parametrize("links", ["follow", "refuse"])
def test_links_pipes_and_folders_in_folders(tmp_path, links):
    root = tmp_path / "root"
    good = write_folder(root / "a", members("a"))
    (good / "sub").mkdir()
    (root / "b").symlink_to(good)
    write_folder(root / "c", members("c")[1:])
    (root / "c" / "c.0.png").symlink_to(good / "a.0.png")
    write_folder(root / "d", members("d")[1:])
    os.mkfifo(root / "d" / "d.0.png")
    write_folder(root / "e", [*members("a"), *members("e")])
    write_folder(root / "f", members("f")[1:])
    (root / "f" / "f.0.png").symlink_to(root / "d" / "d.0.png")
    write_tar(tmp_path / "s.tar", members("s"))
    (root / "s.tar").symlink_to(tmp_path / "s.tar")
    sessions, dropped = read(root, links=links)
    followed = links == "follow"
    assert list(sessions) == (["s", "a", "b", "c", "e"] if followed else ["a", "e"])
    told = [(x.key, x.reason) for x in dropped]
    assert told == [
        *([] if followed else [(str(root / "s.tar"), "link")]),
        ("a/sub", "unknown file"),
        ("b/sub", "unknown file") if followed else ("b", "link"),
        *([] if followed else [("c", "link")]),
        ("d", "unknown file"),
        *((f"e/a.{n}.png", "unknown file") for n in range(3)),
        ("e/a.json", "unknown file"),
        ("f", "unknown file" if followed else "link"),
    ]


def test_links_that_lead_nowhere_or_in_circles_are_told(tmp_path):
    root = write_folder(tmp_path / "root", [])
    write_folder(root / "a", members("a"))
    (root / "loop").symlink_to(root)
    (root / "up").symlink_to(tmp_path)
    (root / "one").symlink_to(root / "two")
    (root / "two").symlink_to(root / "one")
    (root / "self.tar").symlink_to(root / "self.tar")
    (root / "gone").symlink_to(tmp_path / "nothing")
    write_folder(root / "z", members("z")[1:])
    (root / "z" / "z.0.png").symlink_to(root / "z" / "z.0.png")
    sessions, dropped = read(root)
    assert list(sessions) == ["a"]
    told = {x.key: (x.reason, x.detail) for x in dropped}
    assert {reason for reason, _ in told.values()} == {"link"} and len(told) == 7
    for key, said in (
        ("loop", "which holds it: a cycle"), ("up", "a cycle"), ("one", "in a circle"),
        ("self.tar", "in a circle"), ("gone", "to nothing"), ("z", "in a circle"),
    ):  # fmt: skip
        assert said in told[key][1]
    with pytest.raises(UserError, match="links must be follow or refuse, given 'no'"):
        list_parts(root, links="no")


def test_hidden_and_system_files_are_ignored(tmp_path):
    junk = ".DS_Store ._a.0.png Thumbs.db desktop.ini .ipynb_checkpoints/a.0.png"
    junk += " __MACOSX/._a.0.png @eaDir/a.0.png .0.png .json"
    names = junk.split()
    files = [*((name, b"x") for name in names), *members("a")]
    sessions, dropped = read_tar(tmp_path, files)
    assert list(sessions) == ["a"]
    assert [(x.key, x.reason) for x in dropped] == [(n, "ignored") for n in names]
    root = tmp_path / "root"
    write_folder(root, [("a/" + name, data) for name, data in files])
    write_folder(root, [(name, b"x") for name in [*names, "README.md"]])
    sessions, dropped = read(root)
    assert list(sessions) == ["a"]
    assert {x.reason for x in dropped} == {"ignored"}
    assert {"README.md", ".DS_Store", "@eaDir", "a/Thumbs.db"} < {
        x.key for x in dropped
    }


def test_other_formats_are_named_with_what_to_do(tmp_path):
    rest = [members("a")[i] for i in (0, 2, 3)]
    files = [*rest, ("a.1.HEIC", PNG)]
    inside = write_folder(tmp_path / "in", [("a/" + n, data) for n, data in files])
    beside = [*(("b/" + n, data) for n, data in members("b")), files[-1]]
    beside = write_folder(tmp_path / "beside", beside)
    for _, dropped in (read_tar(tmp_path, files), read(inside), read(beside)):
        (told,) = [x.detail for x in dropped if x.reason == "unknown file"]
        assert "is a HEIC file" in told and "convert it" in told


@pytest.mark.parametrize(
    "names, said",
    [
        (["metadata.jsonl", "0.png"], "'metadata.jsonl' looks like a table of pairs"),
        (["x_0.png", "x_1.png"], "'x_0' and 'x_1' look like a pair: rename them"),
        (
            ["s.tar.gz"],
            "'s.tar.gz' is a compressed shard: unpack it first, with gunzip",
        ),
        (["t.tgz"], "unpack it first, with gunzip"),
        (["a.0.png", "a.1.png", "a.json"], "give every session its own folder"),
        (["one.jpg"], "there are images: write each pair as a folder <id>/"),
        (["one.heic"], "is a HEIC file"),
    ],
)
def test_other_layouts_are_told_how_to_be_read(tmp_path, names, said):
    root = write_folder(tmp_path / "root", [(name, PNG) for name in names])
    with pytest.raises(UserError, match="no sessions in") as caught:
        list_parts(root)
    assert said in str(caught.value)
    inside = write_folder(tmp_path / "in", [(f"train/{name}", PNG) for name in names])
    if names[0] != "a.0.png":
        details = [x.detail for x in read(inside)[1] if x.key == "train"]
        assert said in details[0]


def test_a_compressed_shard_is_told_how_to_be_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", members("a"))
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed)
    (dropped,) = read(path)[1]
    assert "it is compressed: unpack it first, with gunzip" in dropped.detail
    (tmp_path / "b.tar.gz").write_bytes(packed)
    with pytest.raises(UserError, match="must be a folder.*unpack it first, with gun"):
        list_parts(tmp_path / "b.tar.gz")


def test_names_and_texts_that_are_no_unicode_are_told(tmp_path):
    root = write_folder(tmp_path / os.fsdecode(b"ro\xffot"), [])
    write_folder(root / "a", members("a"))
    write_folder(root / "b", members("b", document='{"edit_prompt": ["\\ud800", "x"]}'))
    write_folder(root / os.fsdecode(b"c\xff"), members("c"))
    write_folder(root / "d", [*members("d"), (os.fsdecode(b"d\xff.png"), PNG)])
    report = prepare(root, tmp_path / "out")
    assert report.kept == 2
    assert report.dropped == {"no language": 1, "unsafe name": 2}
    said = report.describe()
    said.encode()
    assert "turn 1 has no 'text' that is Unicode" in said and "is not UTF-8" in said
    assert prepare(root, tmp_path / "out") == report
    with pytest.raises(UserError, match="not UTF-8 .*: rename it"):
        prepare(root, tmp_path / os.fsdecode(b"o\xff"))


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
