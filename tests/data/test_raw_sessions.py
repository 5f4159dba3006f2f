"""Raw sessions that are read: every layout, kind of image and language."""

import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.images import decode_image
from anchoredit_jax.data.sessions import (
    list_parts,
    read_part,
)
from anchoredit_jax.errors import UserError

from .raw_files import (
    DOCUMENT,
    PNG,
    encode,
    members,
    read,
    read_tar,
    write_folder,
    write_tar,
)

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
