"""The benchmark builder: what it writes, and all that it refuses."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.images import decode_image, fit_image
from anchoredit_jax.data.sessions import list_parts, read_part
from anchoredit_jax.errors import ProblemsError, UserError
from anchoredit_jax.evaluation.folder_cases import folder_cases
from benchmarks.session_builder import pictures
from benchmarks.session_builder.build import build_benchmark
from benchmarks.session_builder.settings import BenchmarkSettings

from .benchmark_input import (
    RETURNS,
    SIZE,
    SMALL,
    files,
    photos,
    pixels,
    refused,
    save,
)


def one_problem(tmp_path, entries, name="cat.json", **settings):
    """What is wrong with a list beside an image."""
    text = entries if isinstance(entries, str) else json.dumps(entries)
    root = photos(tmp_path / "photos", ["cat"], None)
    (root / name).write_text(text)
    settings = BenchmarkSettings(16, **{"turns": (1, 20)} | settings)
    (problem,) = refused(root, tmp_path / "out", settings)
    return problem


def test_from_photos_to_cases(tmp_path):
    root = photos(tmp_path / "photos")
    built = build_benchmark(root, tmp_path / "runs" / "out", SMALL)
    cases = folder_cases(tmp_path / "runs" / "out", SIZE)
    assert [case.name for case in cases] == ["cat", "dog"]
    for seed, case in enumerate(cases):
        np.testing.assert_array_equal(case.source, fit_image(pixels(seed), SIZE)[0])
        assert case.returns_to == RETURNS and case.read_truth is None
        assert case.instructions[:2] == ("make the coat red", "make it a rainy night")
        assert case.instructions[5] == ""
    written = files(tmp_path / "runs" / "out")
    assert [*written] == [
        "benchmark.json",
        *("cat/cat.0.png", "cat/cat.json", "dog/dog.0.png", "dog/dog.json"),
    ]
    data = (root / "cat.png").read_bytes()
    assert written["cat/cat.0.png"] == data
    document = json.loads(written["cat/cat.json"])
    assert document["instructions"][0] == {"en": "make the coat red"}
    assert document["turns"][9] == {"scope": "global", "returns_to": 8}
    manifest = json.loads(written["benchmark.json"])
    assert manifest == built
    digest = hashlib.sha256(data).hexdigest()
    # Of all files; the test of a benchmark that was edited holds it.
    assert len(manifest["sources"]["cat"].pop("folder_sha256")) == 64
    assert manifest["sources"]["cat"] == {
        "sha256": digest,
        "turns": 10,
        "file": "cat.png",
        "file_sha256": digest,
    }
    del manifest["sources"]
    assert manifest == {
        "format": 1,
        "sessions": 2,
        "turns": 20,
        "scopes": {"local": 6, "global": 4, "none": 10},
        "returns": 8,
        "null_instructions": 2,
        "settings": {"min_side": 16, "turns": [10, 20], "language": "en"},
    }


def test_training_leaves_the_sessions_out_and_says_why(tmp_path):
    """The manifest is no session, and what lacks is the images of the turns."""
    build_benchmark(photos(tmp_path / "photos"), tmp_path / "out", SMALL)
    found = [x for part in list_parts(tmp_path / "out") for x in read_part(part)]
    assert [(x.key, x.reason) for x in found] == [
        ("cat", "wrong count"),
        ("dog", "wrong count"),
    ]
    document = json.loads((tmp_path / "out" / "cat" / "cat.json").read_text())
    for n in range(1, len(document["instructions"]) + 1):
        save(tmp_path / "out" / "cat" / f"cat.{n}.png", n)
    found = [x for part in list_parts(tmp_path / "out") for x in read_part(part)]
    assert len(found[0].images) == 11 and len(found[0].instructions["en"]) == 10


def test_a_benchmark_that_was_changed_is_noticed(tmp_path):
    out = tmp_path / "out"
    build_benchmark(photos(tmp_path / "photos", ["a", "b", "c"]), out, SMALL)
    save(out / "a" / "a.0.png", 9)
    (out / "b").rename(out / "d")
    for path in (out / "d").iterdir():
        path.rename(out / "d" / path.name.replace("b.", "d."))
    with pytest.raises(ProblemsError) as caught:
        folder_cases(out, SIZE)
    assert caught.value.problems == (
        "b: listed in benchmark.json, but gone",
        "a: image 0 is not the one listed in benchmark.json",
        "d: not listed in benchmark.json",
    )


def test_files_that_any_reader_sees_alike_are_copied_and_others_are_not(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    rotated = Image.Exif()
    rotated[0x0112] = 6
    save(root / "jpeg.png", 1, format="JPEG")
    save(root / "webp.webp", 2, lossless=True)
    save(root / "exif.jpg", 3, exif=rotated)
    more = [Image.fromarray(pixels(9))]
    save(root / "phone.jpg", 8, format="MPO", save_all=True, append_images=more)
    save(root / "bmp.bmp", 4)
    Image.fromarray(pixels(5)).convert("L").save(root / "grey.png")
    Image.fromarray(pixels(6)).convert("CMYK").save(root / "cmyk.jpg")
    transparent = Image.fromarray(pixels(7))
    transparent.putalpha(100)
    transparent.save(root / "alpha.png")
    (root / "all.txt").write_text("x\n")
    settings = BenchmarkSettings(16, (1, 1))
    common = root / "all.txt"  # in the folder, but no list beside an image
    built = build_benchmark(root, tmp_path / "out", settings, instructions=common)
    assert built["settings"]["instructions"] == "all.txt"
    copied = {"jpeg.png": "jpeg.0.jpg", "phone.jpg": "phone.0.jpg"}
    copied["webp.webp"] = "webp.0.webp"
    for path in root.iterdir():
        if path == common:
            continue
        (made,) = (tmp_path / "out" / path.stem).glob("*.0.*")
        assert made.name == copied.get(path.name, f"{path.stem}.0.png")
        assert (made.read_bytes() == path.read_bytes()) == (path.name in copied)
        with Image.open(made) as image:
            assert image.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(image), decode_image(path))
    cases = folder_cases(tmp_path / "out", (20, 16))
    assert cases[3].name == "exif" and cases[3].source.shape == (20, 16, 3)


def test_lists_in_json(tmp_path):
    root = photos(tmp_path / "photos", ["cat", "dog"], None)
    entries = [
        "add a hat",
        {"en": "make it night", "scope": "global"},
        {"text": "undo the last change", "scope": "local", "returns_to": "undo"},
        None,
        {"en": " go back ", "returns_to": 0},
    ]
    (root / "cat.json").write_text(json.dumps(entries))
    turns = [{"de": "x", "zh": "甲"}, None]
    (root / "dog.json").write_text(json.dumps({"instructions": turns}))
    build_benchmark(root, tmp_path / "out", BenchmarkSettings(16, (1, 5)))
    cat = json.loads((tmp_path / "out" / "cat" / "cat.json").read_text())
    texts = ["add a hat", "make it night", "undo the last change", "", "go back"]
    assert cat == {
        "instructions": [{"en": text} for text in texts],
        "turns": [
            {"scope": None, "returns_to": None},
            {"scope": "global", "returns_to": None},
            {"scope": "local", "returns_to": 1},
            {"scope": None, "returns_to": None},
            {"scope": None, "returns_to": 0},
        ],
    }
    dog = json.loads((tmp_path / "out" / "dog" / "dog.json").read_text())
    assert dog["instructions"] == [turns[0], {"de": "", "zh": ""}]


def test_one_file_for_all_images(tmp_path):
    root = photos(tmp_path / "photos", ["cat", "dog"], None)
    settings = BenchmarkSettings(16, (1, 2), language="de")
    file = tmp_path / "all.json"
    for value, number in (
        (["x", "y"], 0),
        ({"instructions": ["x", "y"]}, 1),
        ({"cat": ["x", "y"], "dog.png": ["z"]}, 2),
    ):
        file.write_text(json.dumps(value))
        out = tmp_path / f"out{number}"
        build_benchmark(root, out, settings, instructions=file)
        cat, dog = folder_cases(out, SIZE, "de")
        assert cat.instructions == ("x", "y")
        assert dog.instructions == (("z",) if number == 2 else ("x", "y"))
    file.write_text(json.dumps({"cat": ["x"], "cat.png": ["y"], "cow": ["z"]}))
    assert refused(root, tmp_path / "out", settings, instructions=file) == (
        "all.json, 'cat.png': a second list of this image",
        "all.json, 'cow': instructions without an image",
        "dog.png: no instructions in all.json",
    )


def test_all_problems_are_told_at_once(tmp_path):
    root = photos(tmp_path / "photos", ["a", "b", "c", "d", "e"])
    (root / "a.json").write_text("[]")
    (root / "b.txt").unlink()
    (root / "c.png").write_bytes((root / "d.png").read_bytes())
    (root / "e.png").write_text("text")
    (root / "f.txt").write_text("add a hat\n")
    (root / "A.webp").touch()
    (root / "un safe.png").touch()
    (root / "sub").mkdir()
    save(root / "small.png").with_suffix(".txt").write_text("add a hat\n")
    Image.fromarray(pixels(0, 21 * 16)).save(root / "strip.png")
    (root / "strip.txt").write_bytes(b"\xff")
    (root / ".hidden").touch()
    Image.fromarray(pixels(0, 30, 15)).save(root / "small.png")
    problems = refused(root, tmp_path / "out")
    for problem, start in zip(
        problems,
        [
            "a.png: its session would have the name of that of 'A.webp'",
            "sub: no file",
            "un safe.png: the name 'un safe' is not safe",
            "a.json: instructions without an image",
            "a.txt: instructions without an image",
            "f.txt: instructions without an image",
            "small.txt: 1 turns, expected 10 to 20",
            "strip.txt: it cannot be read as UTF-8",
            "A.webp: no instructions: write A.txt or A.json",
            "b.png: no instructions",
            "A.webp: image 'A.webp' is empty",
            "d.png: it has the pixels of 'c.png'",
            "e.png: 'e.png' is not an image",
            "small.png: 30 x 15 pixels: the shorter side must have 16 or more",
            "strip.png: 336 x 16 pixels is a strip",
        ],
        strict=True,
    ):
        assert problem.startswith(start)


def test_the_side_counts_after_turning_and_the_pixels_after_decoding(tmp_path):
    root = photos(tmp_path / "photos", ["a"])
    with Image.open(root / "a.png") as image:
        image.save(root / "b.bmp")
        image.transpose(Image.Transpose.ROTATE_90).save(root / "c.bmp")
        exif = Image.Exif()
        exif[0x0112] = 6  # clockwise: turns c's pixels back into a's
        image.transpose(Image.Transpose.ROTATE_90).save(root / "d.png", exif=exif)
    for name in "bcd":
        (root / f"{name}.txt").write_text((root / "a.txt").read_text())
    assert refused(root, tmp_path / "out") == (
        "b.bmp: it has the pixels of 'a.png': remove one",
        "d.png: it has the pixels of 'a.png': remove one",
    )


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("[mask] a hat", "line 3: unknown tag in '[mask] a hat'"),
        ("[local a hat", "unknown tag"),
        ("[return -1] back", "unknown tag"),
        ("[local] [global] a hat", "say different things"),
        ("[undo] [return 0] a hat", "say different things"),
        ("[local]", "an empty instruction"),
        ("[null] a hat", "[null] stands alone"),
        ("[null] [global]", "neither scope nor return"),
        ("[return 2] back", "turn 2: it returns to turn 2, which is not earlier"),
        ("[return 1] back", "it returns to the image of turn 1, which is the one"),
        ("[return any] back", "is for a pool"),
    ],
)
def test_lines_that_are_refused(tmp_path, line, match):
    text = f"a scarf\n\n{line}\nanother\n"
    assert match in one_problem(tmp_path, text, "cat.txt")


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ("[undo] undo", "turn 1: there is no change to undo yet"),
        ("[return 0] back", "turn 1: it returns to the image of turn 0"),
        ("a\nb\n[return 0] back\n[return 0] back", "turn 4: it returns to the image"),
        ("a\n[null]\n[undo] undo", "turn 3: it returns to the image of turn 1"),
        ("# nothing\n\n", "0 turns, expected 1 to 20"),
    ],
)
def test_lists_that_are_refused(tmp_path, lines, match):
    assert match in one_problem(tmp_path, lines, "cat.txt")


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ("", "turn 2: an empty instruction in 'text'"),
        ("x" * 5000, "turn 2: instruction of 5000 characters: at most 4096 are taken"),
        ({"en": " "}, "an empty instruction in 'en'"),
        ({"en": "x", "zh": None}, "an empty instruction in 'zh'"),
        (3, "expected a text, null or an object"),
        ({}, "it has no text"),
        ({"en": "x", "text": "y"}, "the same language"),
        ({"en": "x", "scoope": "local"}, "unknown key 'scoope'"),
        ({"en": "x", "scope": "all"}, "scope 'all'"),
        ({"en": "x", "returns_to": True}, "returns_to True"),
        ({"en": "x", "returns_to": "last"}, "returns_to 'last'"),
        ({"text": None, "returns_to": 0}, "neither scope nor return"),
        ({"zh": "x"}, "turn 2: it has no 'en', which other turns have"),
        ("\ud800", "is not Unicode"),
    ],
)
def test_entries_that_are_refused(tmp_path, entry, match):
    entries = [{"en": "a", "zh": "b"} if match.startswith("turn 2: it") else "a", entry]
    assert match in one_problem(tmp_path, entries)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[", "cat.json: it is no JSON"),
        ('"x"', "expected a list of instructions"),
        ('{"turns": []}', "expected a list of instructions"),
        ('[{"en": "x", "en": "y"}]', "the key 'en' is there twice"),
    ],
)
def test_json_that_is_refused(tmp_path, text, match):
    assert match in one_problem(tmp_path, text)


def test_places_that_are_refused(tmp_path):
    root = photos(tmp_path / "photos")
    (tmp_path / "there").mkdir()
    (tmp_path / "empty").mkdir()
    for images, out, match in (
        (root, tmp_path / "there", "is there already"),
        (root, root / "out", "is in the folder of images"),
        (root / "cat.png", tmp_path / "out", "is no folder"),
        (tmp_path / "empty", tmp_path / "out", "no image in"),
        (root, root / "cat.png" / "out", "is in the folder of images"),
        (root, tmp_path / "file" / "out", "is a file; give a folder"),
    ):
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=match):
            build_benchmark(images, out, SMALL)
        assert not out.is_dir() or not any(out.iterdir())
    with pytest.raises(UserError, match="not both"):
        build_benchmark(root, tmp_path / "out", SMALL, "a.txt", "b.txt")


@pytest.mark.parametrize(
    "wrong",
    [{"min_side": 7}, {"turns": (3, 2)}, {"turns": (0, 2)}, {"seed": -1}]
    + [{"language": "English"}],
)
def test_settings_that_are_refused(wrong):
    with pytest.raises(UserError, match=f"{[*wrong][0]} must be"):
        BenchmarkSettings(**wrong)


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos")
    encode, done = pictures.encode_picture, []

    def fail_at_the_second(picture):
        if done:
            raise OSError("no space left on device")
        done.append(picture)
        return encode(picture)

    path = "benchmarks.session_builder.build.encode_picture"
    monkeypatch.setattr(path, fail_at_the_second)
    with pytest.raises(UserError, match="cannot be written: no space left"):
        build_benchmark(root, tmp_path / "out", SMALL)
    assert done and [*tmp_path.iterdir()] == [root]


def test_an_image_that_changes_or_grows_too_large(tmp_path, monkeypatch):
    root = photos(tmp_path / "photos", ["a"])

    def change(items):
        yield from items
        save(root / "a.png", 7)

    with pytest.raises(UserError, match="a.png' was changed"):
        build_benchmark(root, tmp_path / "out", SMALL, shown=change)
    monkeypatch.setattr(pictures, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(UserError, match="readers take at most 100: shrink it"):
        build_benchmark(root, tmp_path / "out", SMALL)
    assert [*tmp_path.iterdir()] == [root]


def test_a_built_benchmark_that_was_edited_is_refused(tmp_path):
    out = tmp_path / "out"
    build_benchmark(photos(tmp_path / "photos"), out, SMALL)
    document = out / "cat" / "cat.json"
    whole = document.read_text()
    document.write_text(whole.replace("make the coat red", "make the coat blue"))
    with pytest.raises(ProblemsError, match="cat: its instructions or images are not"):
        folder_cases(out, SIZE)
    document.write_text(whole)
    assert len(folder_cases(out, SIZE)) == 2
    save(out / "cat" / "cat.1.png", 0)  # an answer that was not there
    with pytest.raises(ProblemsError, match="changed since the benchmark was built"):
        folder_cases(out, SIZE)
    (out / "cat" / "cat.1.png").unlink()
    manifest = json.loads((out / "benchmark.json").read_text())
    for source in manifest["sources"].values():
        del source["folder_sha256"]  # as earlier versions wrote it
    (out / "benchmark.json").write_text(json.dumps(manifest))
    document.write_text(whole.replace("make the coat red", "make the coat blue"))
    assert len(folder_cases(out, SIZE)) == 2
