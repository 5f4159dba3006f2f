"""Raw sessions: every layout, every kind of image, languages, every drop reason."""

import io
import json
import os
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.images import decode_image
from anchoredit_jax.data.sessions import (
    REASONS,
    Dropped,
    RawSession,
    list_parts,
    read_part,
    tar_shards,
)
from anchoredit_jax.errors import UserError


def encode(image=None, form="PNG", **options):
    out = io.BytesIO()
    image = Image.new("RGB", (12, 10), (200, 30, 90)) if image is None else image
    image.save(out, form, **options)
    return out.getvalue()


PNG = encode()
DOCUMENT = json.dumps({"instructions": [{"en": "redden it"}, {"en": "add a hat"}]})


def members(key, images=3, document=DOCUMENT, frames=False, data=PNG):
    """(name, content) of a session's files."""
    name = "{}/frame_{}.png" if frames else "{}.{}.png"
    files = [(name.format(key, n), data) for n in range(images)]
    if document is not None:
        files.append((f"{key}.json", document.encode()))
    return files


def write_tar(path, files, form=tarfile.PAX_FORMAT):
    """A shard; a member may be a TarInfo of its own instead of (name, content)."""
    with tarfile.open(path, "w", format=form) as tar:
        for file in files:
            if isinstance(file, tarfile.TarInfo):
                tar.addfile(file)
                continue
            member = tarfile.TarInfo(file[0])
            member.size = len(file[1])
            tar.addfile(member, io.BytesIO(file[1]))
    return path


def write_folder(root, files):
    for name, data in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def read(source, languages=("en",), **options):
    """(sessions by key, what was dropped)."""
    parts = pickle.loads(pickle.dumps(list_parts(source)))
    found = [x for part in parts for x in read_part(part, languages, **options)]
    sessions = [x for x in found if isinstance(x, RawSession)]
    dropped = [x for x in found if isinstance(x, Dropped)]
    assert len(sessions) + len(dropped) == len(found)
    assert len({x.key for x in sessions}) == len(sessions)
    for x in dropped:
        assert x.reason in REASONS and x.detail and "\n" not in x.detail and x.origin
    return {x.key: x for x in sessions}, dropped


def read_tar(tmp_path, files, languages=("en",), **options):
    return read(write_tar(tmp_path / "a.tar", files), languages, **options)


def only(dropped):
    (one,) = dropped
    return one.key, one.reason


KEYS = ["a", "a.b.3", "a b", "日本.x", "deep/er/ß 1", "x/frame_2", "line\nbreak", "C:d"]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_ids_of_any_kind_in_a_shard(tmp_path, form):
    keys = [*KEYS, "long" * 60]
    files = [file for key in keys for file in members(key)]
    sessions, dropped = read(write_tar(tmp_path / "a.tar", files, form))
    assert list(sessions) == keys and not dropped
    session = sessions["日本.x"]
    assert session.images == (PNG,) * 3 and session.sizes == ((10, 12),) * 3
    assert session.instructions == {"en": ("redden it", "add a hat")}
    assert session.origin == str(tmp_path / "a.tar")


def test_members_in_any_order_and_far_apart(tmp_path):
    files = [*members("a"), *members("b"), *members("c/d", frames=True)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        mixed = [files[i] for i in rng.permutation(len(files))]
        sessions, dropped = read_tar(tmp_path, mixed)
        assert sorted(sessions) == ["a", "b", "c/d"] and not dropped


@pytest.mark.parametrize("document_first", [False, True])
def test_frames_in_folders_with_a_document_of_any_name(tmp_path, document_first):
    files = []
    for key in ("one", "deep/two.x"):
        frames = members(key, document=None, frames=True)
        document = (f"{key}/meta data.json", DOCUMENT.encode())
        files += [document, *frames] if document_first else [*frames, document]
    sessions, dropped = read_tar(tmp_path, files)
    assert list(sessions) == ["one", "deep/two.x"] and not dropped


def test_prefixes_folders_and_zero_padded_numbers(tmp_path):
    folder = tarfile.TarInfo("./x")
    folder.type = tarfile.DIRTYPE
    names = ["./x//frame_000.PNG", "./x/frame_001.jpeg", "./x/./frame_02.webp"]
    files = [folder, *((name, PNG) for name in names), ("./x.JSON", DOCUMENT.encode())]
    sessions, dropped = read_tar(tmp_path, files)
    assert list(sessions) == ["x"] and not dropped


def test_images_come_by_number_not_by_name_or_place(tmp_path):
    document = json.dumps({"edit_prompt": ["x"] * 11})
    images = [encode(Image.new("RGB", (10 + n, 10))) for n in range(12)]
    files = [(f"a.{n}.png", images[n]) for n in reversed(range(12))]
    sessions, _ = read_tar(tmp_path, [*files, ("a.json", document.encode())])
    assert sessions["a"].images == tuple(images)
    assert sessions["a"].sizes == tuple((10, 10 + n) for n in range(12))


def test_session_folders(tmp_path):
    keys = ["a", "a b", "日本.x", "frame_3"]
    for key in keys:
        write_folder(tmp_path / key, members(key))
    write_folder(tmp_path / "f", [(f"frame_{n}.jpg", PNG) for n in range(3)])
    write_folder(tmp_path / "f", [("anything.json", DOCUMENT.encode())])
    sessions, dropped = read(tmp_path)
    assert list(sessions) == sorted([*keys, "f"]) and not dropped
    assert sessions["a b"].origin == str(tmp_path)
    assert sessions["a b"].sizes == ((10, 12),) * 3


def test_parts_of_a_folder_are_slices_in_order(tmp_path):
    for i in range(7):
        write_folder(tmp_path / f"s{i}", members(f"s{i}"))
    write_tar(tmp_path / "z.tar", members("packed"))
    parts = list_parts(str(tmp_path), folders_per_part=3)
    assert [part.folders for part in parts] == [
        None,
        ("s0", "s1", "s2"),
        ("s3", "s4", "s5"),
        ("s6",),
    ]
    assert [x.key for part in parts for x in read_part(part)] == [
        "packed",
        *(f"s{i}" for i in range(7)),
    ]


def test_a_list_of_shards(tmp_path):
    (tmp_path / "sub").mkdir()
    write_tar(tmp_path / "sub" / "b.tar", members("b"))
    far = write_tar(tmp_path / "a.tar", members("a"))
    listed = tmp_path / "sub" / "list.json"
    listed.write_text(json.dumps({"resolved_files": ["b.tar", str(far)]}))
    sessions, dropped = read(listed)
    assert {x.key: x.origin for x in sessions.values()} == {
        "a": str(far),
        "b": "b.tar",
    }
    assert not dropped


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("nonsense", "no JSON list"),
        ("[" * 100_000, "no JSON list"),
        ("[1]", "must hold shards as"),
        ('{"resolved_files": []}', "must hold shards as"),
        ('{"resolved_files": "a.tar"}', "must hold shards as"),
        ('{"resolved_files": [3]}', "must hold shards as"),
        ('{"resolved_files": ["a.tar", "gone.tar"]}', "'gone.tar', which does not"),
        ('{"resolved_files": ["a\\u0000.tar"]}', "which does not exist"),
        ('{"resolved_files": ["a.tar", "./a.tar"]}', "twice"),
    ],
)
def test_malformed_lists_are_refused(tmp_path, content, match):
    write_tar(tmp_path / "a.tar", members("a"))
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(UserError, match=match) as caught:
        list_parts(tmp_path / "list.json")
    assert "\n" not in str(caught.value)


def test_what_is_no_source_is_refused(tmp_path):
    with pytest.raises(UserError, match="gone' do not exist"):
        list_parts(tmp_path / "gone")
    with pytest.raises(UserError, match="no sessions in"):
        list_parts(tmp_path)
    (tmp_path / "a.zip").touch()
    with pytest.raises(UserError, match="a folder, a .tar shard, or a .json list"):
        list_parts(tmp_path / "a.zip")
    with pytest.raises(UserError, match="folders_per_part"):
        list_parts(tmp_path, 0)
    (part,) = list_parts(write_tar(tmp_path / "a.tar", members("a")))
    with pytest.raises(UserError, match="languages must be a list"):
        read_part(part, "en")
    with pytest.raises(UserError, match="max_image_bytes"):
        read_part(part, max_image_bytes=0)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(UserError, match="a.tar' does not exist"):
        read_part(part)


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


KINDS = {
    "exif": (encode(form="JPEG", exif=rotated()), (12, 10)),
    "rgba": (encode(Image.new("RGBA", (12, 10))), (10, 12)),
    "palette": (encode(Image.new("P", (12, 10)), transparency=0), (10, 12)),
    "la": (encode(Image.new("LA", (12, 10))), (10, 12)),
    "l": (encode(Image.new("L", (12, 10))), (10, 12)),
    "cmyk": (encode(Image.new("CMYK", (12, 10)), "JPEG"), (10, 12)),
    "16 bit": (encode(Image.fromarray(np.ones((10, 12), np.uint16))), (10, 12)),
    "gif": (
        encode(
            Image.new("P", (12, 10)),
            "GIF",
            save_all=True,
            append_images=[Image.new("P", (12, 10), 1)],
        ),
        (10, 12),
    ),
    "webp": (encode(form="WEBP"), (10, 12)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_whatever_its_extension(tmp_path, kind):
    data, size = KINDS[kind]
    sessions, dropped = read_tar(tmp_path, members("a", data=data))
    assert not dropped
    assert sessions["a"].sizes == (size,) * 3 and sessions["a"].images == (data,) * 3
    assert decode_image(data, name="a").shape == (*size, 3)


def instructions(tmp_path, document, languages=("en",)):
    turns = document.get("instructions") or document["edit_prompt"]
    files = members("a", len(turns) + 1, json.dumps(document))
    sessions, dropped = read_tar(tmp_path, files, languages)
    return dict(sessions["a"].instructions) if sessions else dropped[0]


def test_languages_are_kept_whole_and_apart(tmp_path):
    turns = [{"en": "a", "zh": "甲", "de": "x"}, {"en": "b", "zh": "乙"}]
    document = {"instructions": turns}
    assert instructions(tmp_path, document) == {"en": ("a", "b")}
    both = instructions(tmp_path, document, ("zh", "de", "en"))
    assert both == {"zh": ("甲", "乙"), "en": ("a", "b")} and list(both) == ["zh", "en"]


def test_plain_texts_are_taken_whatever_is_asked(tmp_path):
    plain = {"text": ("a", "b")}
    assert instructions(tmp_path, {"instructions": ["a", "b"]}, ("zh",)) == plain
    assert instructions(tmp_path, {"edit_prompt": ["a", "b"]}, ()) == plain
    both = {"instructions": ["a", "b"], "edit_prompt": ["c", "d"]}
    assert instructions(tmp_path, both) == plain


def test_empty_is_an_instruction_and_missing_is_not(tmp_path):
    turns = [{"en": "", "zh": None}, {"en": " \n\t", "zh": "乙"}, {"en": " c "}]
    document = {"instructions": turns}
    assert instructions(tmp_path, document) == {"en": ("", "", " c ")}
    dropped = instructions(tmp_path, document, ("zh", "fr"))
    assert dropped.reason == "no language" and dropped.key == "a"
    assert "turn 1 has no 'zh'" in dropped.detail
    assert "turn 1 has no 'fr'" in dropped.detail


@pytest.mark.parametrize("absent", [None, 3, ["b"], {"en": 3}, "plain", "\ud800", {}])
def test_a_turn_without_a_text_breaks_its_language(tmp_path, absent):
    dropped = instructions(tmp_path, {"instructions": [{"en": "a"}, absent]})
    assert dropped.reason == "no language" and "turn 2 has no 'en'" in dropped.detail
    plain = instructions(tmp_path, {"instructions": ["a", {"en": absent}]})
    assert plain.reason == "no language" and "turn 2 has no 'text'" in plain.detail


def png_header(width, height):
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, io.SEEK_END)
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100)),
    ):
        out.write(struct.pack(">I", len(body)) + kind + body)
        out.write(struct.pack(">I", zlib.crc32(kind + body)))
    return out.getvalue()


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
