"""The editing script: a folder of results, or one line of error and nothing."""

import errno
import io
import json
import os
import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.checkpoint import Lineage, digest, save_bundle
from anchoredit_jax.config import run_from_dict
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.session import EditSession, load_editor
from anchoredit_jax.session.result_folder import write_result

SCRIPT = Path(__file__).parents[2] / "launch" / "edit.py"
CONFIG = {
    "stage": "single_turn",
    "model": {
        "dim": 16,
        "ffn_dim": 16,
        "num_heads": 1,
        "num_layers": 1,
        "channels": 16,
        "text_dim": 8,
        "freq_dim": 8,
    },
    "text": {"dim": 8, "length": 6},
    "data": {"size": 16},
    "memory": {"sink": 1, "window": 2},
    "sampler": {"steps": 1},
}


SHAPES = {
    "kind": "sessions",
    "size": 16,
    "sessions": {"path": "prepared", "layout": "pairs"},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("weights"), CONFIG)


@pytest.fixture(scope="module")
def shaped(tmp_path_factory):
    """Weights that were trained on sessions of all shapes."""
    config = {**CONFIG, "data": SHAPES}
    return make_checkpoint(tmp_path_factory.mktemp("shaped"), config)


def make_checkpoint(folder, config):
    run = run_from_dict(config)
    shapes = ((1, 2, 8, 8, 16), (1, 2), (1, 1, 6, 8))
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    tree = jax.eval_shape(Transformer(run.model).init, jax.random.key(0), *inputs)
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), tree["params"])
    lineage = Lineage("single_turn", 3, digest(params), run.to_dict())
    return save_bundle(folder, params, run, lineage)


@pytest.fixture
def photo(tmp_path):
    """A PNG file of 48 x 32 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def edit(*flags):
    runpy.run_path(str(SCRIPT))["main"]([str(flag) for flag in flags])


def refused(capsys, *flags):
    """Run with wrong input; returns its one line."""
    with pytest.raises(SystemExit) as caught:
        edit(*flags)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_a_folder_of_results(checkpoint, photo, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    flags = ["--checkpoint", checkpoint, "--image", photo, "--out", out, "--seed", 5]
    edit(*flags, "--instruction", "make it blue", "--instruction", "")
    names = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    turns = {f"turn_0{n}.png" for n in range(3)}
    assert names == turns | {f"model_size/{n}" for n in turns} | {"contact_sheet.png"}
    crop = pixels(photo)[:, 8:40].astype(float).reshape(16, 2, 16, 2, 3)
    seen = pixels(out / "model_size" / "turn_00.png")
    np.testing.assert_allclose(seen, crop.mean((1, 3)), atol=1)
    for number in range(3):
        assert pixels(out / f"turn_0{number}.png").shape == (32, 32, 3)
        assert pixels(out / f"model_size/turn_0{number}.png").shape == (16, 16, 3)
    record = json.loads((out / "session.json").read_text())
    assert [turn["instruction"] for turn in record["turns"]] == ["make it blue", ""]
    assert record["seed"] == 5 and len(record["image"]["sha256"]) == 64
    assert record["checkpoint"]["path"] == str(checkpoint)
    assert record["memory"]["window"] == 2 and record["sampler"]["steps"] == 1
    told = capsys.readouterr().out
    kept = "48 x 32, edited at 16 x 16, 66.6 % of its pixels kept (32 x 32 from 8, 0)"
    assert f"photo.png: {kept}" in told.splitlines() and "2 turns in" in told
    assert record["kept"] == 0.6667 and record["crop"]["size"] == [16, 16]
    # Nothing is left beside it, and the record is enough to repeat the session.
    assert [path.name for path in out.parent.iterdir()] == ["b"]
    assert os.stat(out).st_mode & 0o055 == 0o055
    session = load_editor(record["checkpoint"]["path"]).start(
        record["image"]["path"], record["seed"]
    )
    for turn in record["turns"]:
        session.edit(turn["instruction"], turn["seed"])
    made = pixels(out / "model_size" / "turn_02.png")
    np.testing.assert_array_equal(made, session.history[2].pixels)


def test_flags_override_settings_and_a_result_is_replaced(checkpoint, photo, tmp_path):
    out, lines = tmp_path / "out", tmp_path / "lines.txt"
    flags = ["--checkpoint", checkpoint, "--image", photo, "--out", out]
    edit(*flags, *["--instruction", "", "--instruction", ""] * 2)  # a longer session
    assert (out / "turn_04.png").exists()
    lines.write_text("make it blue\r\n\nadd a hat\n", encoding="utf-8-sig")
    settings = "--sink 2 --window full --positions absolute --sampler euler --steps 2"
    edit(*flags, "--instructions", lines, *settings.split(), "--guidance", 1.5)
    record = json.loads((out / "session.json").read_text())
    instructions = [turn["instruction"] for turn in record["turns"]]
    assert instructions == ["make it blue", "", "add a hat"]
    assert record["memory"] == {"sink": 2, "window": None, "positions": "absolute"}
    assert record["max_turns"] == 3
    sampler = record["sampler"]
    assert (sampler["kind"], sampler["steps"], sampler["guidance"]) == ("euler", 2, 1.5)
    assert (out / "turn_03.png").exists() and not (out / "turn_04.png").exists()


def test_wrong_images_are_refused(checkpoint, tmp_path, capsys):
    text = tmp_path / "text.png"
    text.write_text("not an image")
    strip = tmp_path / "strip.png"
    Image.new("RGB", (400, 10)).save(strip)
    out = tmp_path / "out"
    rest = ["--checkpoint", checkpoint, "--instruction", "x", "--out", out]
    missing = refused(capsys, "--image", tmp_path / "missing.png", *rest)
    assert "missing.png' does not exist" in missing
    assert "text.png' is not an image" in refused(capsys, "--image", text, *rest)
    assert "400 x 10 pixels is a strip" in refused(capsys, "--image", strip, *rest)
    assert not out.exists()


def test_wrong_instructions_are_refused(checkpoint, photo, tmp_path, capsys):
    out, empty, binary = tmp_path / "out", tmp_path / "empty", tmp_path / "binary"
    empty.touch()
    binary.write_bytes(b"\xff\xfe\xff")
    flags = ["--checkpoint", checkpoint, "--image", photo, "--out", out]
    assert "no instructions" in refused(capsys, *flags)
    assert "empty' is empty" in refused(capsys, *flags, "--instructions", empty)
    assert "binary'" in refused(capsys, *flags, "--instructions", binary)
    assert "gone'" in refused(capsys, *flags, "--instructions", tmp_path / "gone")
    both = ["--instruction", "x", "--instructions", empty]
    assert "not both" in refused(capsys, *flags, *both)
    long = refused(capsys, *flags, "--instruction", "a", "--instruction", "a " * 7)
    assert "7 words" in long and "at most 6" in long
    assert "no words" in refused(capsys, *flags, "--instruction", "!?")
    assert not out.exists()


def test_wrong_checkpoints_are_refused(photo, tmp_path, capsys):
    flags = ["--image", photo, "--instruction", "x", "--out", tmp_path / "out"]
    gone = refused(capsys, *flags, "--checkpoint", tmp_path / "gone")
    assert "gone' does not exist" in gone
    (tmp_path / "text.safetensors").write_text("no weights")
    text = refused(capsys, *flags, "--checkpoint", tmp_path / "text.safetensors")
    assert "text.safetensors' is no safetensors file" in text


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--steps", "0", "steps must be in [1, 1000], given 0"),
        ("--steps", "many", "--steps: invalid int value: 'many'"),
        ("--window", "-1", "window must be in [0, 1024], given -1"),
        ("--window", "all", "a whole number or 'full', given 'all'"),
        ("--guidance", "nan", "expected a number, given 'nan'"),
        ("--positions", "relative", "--positions: invalid choice: 'relative'"),
        ("--seed", "-1", "a seed must be from 0"),
        ("--stepz", "4", "unrecognized arguments: --stepz"),
    ],
)
def test_wrong_settings_are_refused(checkpoint, photo, tmp_path, capsys, flag, value,
                                    message):  # fmt: skip
    flags = ["--checkpoint", checkpoint, "--image", photo, "--instruction", "x"]
    line = refused(capsys, *flags, "--out", tmp_path / "out", f"{flag}={value}")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_folders_that_are_no_results_are_left_alone(
    checkpoint, photo, tmp_path, capsys
):
    flags = ["--checkpoint", checkpoint, "--image", photo, "--instruction", "x"]
    assert "holds other files" in refused(capsys, *flags, "--out", tmp_path)
    assert "is not a folder" in refused(capsys, *flags, "--out", photo)
    inside = refused(capsys, *flags, "--out", photo / "out")
    assert "cannot be made" in inside
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_a_failure_while_writing_leaves_the_earlier_result(
    checkpoint, photo, tmp_path, monkeypatch
):
    session = load_editor(checkpoint).start(photo)
    out = write_result(tmp_path / "out", session, {"attempt": 1})
    before = (out / "session.json").read_text()
    rename = Path.rename

    def fail(self, target):
        if self.name == "out.unfinished":
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(UserError, match="out' cannot be written.*disk full"):
        write_result(tmp_path / "out", session, {"attempt": 2})
    assert (out / "session.json").read_text() == before
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"out", "out.unfinished", "photo.png"}
    monkeypatch.undo()
    write_result(tmp_path / "out", session, {"attempt": 3})
    assert {path.name for path in tmp_path.iterdir()} == {"out", "photo.png"}


def test_what_was_made_stays_when_the_disk_is_full(
    checkpoint, photo, tmp_path, monkeypatch, capsys
):
    save = Image.Image.save

    def fail(self, path, *rest, **options):
        if "turn_02.png" in Path(path).name:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, path, *rest, **options)

    monkeypatch.setattr(Image.Image, "save", fail)
    flags = ["--checkpoint", checkpoint, "--image", photo, "--out", tmp_path / "out"]
    with pytest.raises(SystemExit) as caught:
        edit(*flags, *["--instruction", "make it blue"] * 3)
    err = capsys.readouterr().err
    assert caught.value.code == 2 and err.count("\n") == 1
    assert "No space left" in err and "what was made is in 'out.unfinished'" in err
    made = tmp_path / "out.unfinished"
    assert pixels(made / "turn_01.png").shape == (32, 32, 3)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    edit(*flags, "--instruction", "make it blue")
    assert (tmp_path / "out/turn_01.png").exists() and not made.exists()


def test_a_full_disk_or_an_endless_name_is_found_before_the_weights(
    photo, tmp_path, monkeypatch, capsys
):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    gone = ["--checkpoint", tmp_path / "gone", "--instruction", "x", "--image"]
    long = tmp_path / ("n" * 300)
    assert "too long" in refused(capsys, *gone, photo, "--out", long)
    assert "does not exist" in refused(capsys, *gone, long, "--out", tmp_path / "out")
    weights = ["--checkpoint", long, "--instruction", "x", "--image", photo]
    assert "does not exist" in refused(capsys, *weights, "--out", tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "not a folder" in refused(capsys, *gone, photo, "--out", tmp_path / "link")
    monkeypatch.setattr(os, "fsync", refuse)
    assert "No space" in refused(capsys, *gone, photo, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_and_instructions_that_are_not_text(checkpoint, photo, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    (photos / name).write_bytes(photo.read_bytes())
    (photos / "gone.png").symlink_to(tmp_path / "nowhere")
    flags = ["--checkpoint", checkpoint, "--image", photos, "--out", out]
    with pytest.raises(SystemExit) as caught:
        edit(*flags, "--instruction", "make it blue")
    said = capsys.readouterr()
    assert caught.value.code == 1 and "gone.png" in said.err  # a link to nothing
    assert "caf\\udce9.png: 48 x 32" in said.out and "1 of 2 images" in said.out
    record = json.loads((out / Path(name).stem / "session.json").read_text("utf-8"))
    assert record["image"]["path"] == str(photos / name)
    bytes_given = refused(capsys, *flags, "--instruction", "make it \udcff")
    assert "must be Unicode text" in bytes_given


def test_a_saved_session_goes_on(checkpoint, photo, tmp_path, monkeypatch, capsys):
    flags = ["--checkpoint", checkpoint, "--image", photo, "--seed", 5]
    turns = [["--instruction", text] for text in ("make it blue", "add a hat")]
    edit(*flags, *turns[0], *turns[1], "--out", tmp_path / "whole")
    edit(*flags, *turns[0], "--out", tmp_path / "first")
    kept = "48 x 32, edited at 16 x 16, 66.6 % of its pixels kept (32 x 32 from 8, 0)"
    for number, given in enumerate(("", "session.json", "session.safetensors")):
        out = tmp_path / f"again{number}"
        capsys.readouterr()
        edit("--session", tmp_path / "first" / given, *turns[1], "--out", out)
        assert f"{given or 'first'}: {kept}" in capsys.readouterr().out.splitlines()
        for name in ("turn_02.png", "model_size/turn_01.png", "contact_sheet.png"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    record = json.loads((out / "session.json").read_text())
    assert record["seed"] == 5 and len(record["turns"]) == 2
    typed = ["--session", tmp_path / "first", "--out", tmp_path / "typed"]
    interact(monkeypatch, ["add a hat"], *typed)
    made = (tmp_path / "typed/main/turn_02.png").read_bytes()
    assert made == (tmp_path / "whole/turn_02.png").read_bytes()
    capsys.readouterr()
    first = ["--session", tmp_path / "first", "--out", tmp_path / "o", *turns[0]]
    assert "settings of its own" in refused(capsys, *first, "--steps", 2)
    assert "not allowed with" in refused(capsys, *first, "--image", photo)
    (tmp_path / "first/session.safetensors").unlink()
    alone = refused(capsys, *["--session", tmp_path / "first/session.json"], *first[2:])
    assert "holds no pictures: give session.safetensors" in alone


def test_the_script_runs_from_anywhere(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert caught.value.code == 0
    assert "--instruction TEXT" in capsys.readouterr().out


def test_every_image_of_a_folder_has_a_folder_of_its_own(
    checkpoint, photo, tmp_path, capsys
):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("a.png", "b.png", "b.PNM.ppm", "notes.txt", ".hidden.png"):
        (photos / name).write_bytes(photo.read_bytes())
    Image.open(photo).rotate(90).save(photos / "b.jpg")
    flags = ["--checkpoint", checkpoint, "--instruction", "make it blue", "--seed", 5]
    edit(*flags, "--image", photos, "--out", out)
    folders = {path.name for path in out.iterdir()}
    assert folders == {"a", "b.png", "b.jpg", "b.PNM"}
    assert "4 of 4 images, 1 turn each" in capsys.readouterr().out
    edit(*flags, "--image", photo, "--out", tmp_path / "alone")
    for name in ("turn_01.png", "model_size/turn_01.png", "contact_sheet.png"):
        assert (out / "a" / name).read_bytes() == (
            tmp_path / "alone" / name
        ).read_bytes()
    record = json.loads((out / "b.jpg" / "session.json").read_text())
    assert record["image"]["path"] == str(photos / "b.jpg")


def test_images_are_edited_at_their_own_shapes(
    shaped, photo, tmp_path, monkeypatch, capsys
):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "wide.png").write_bytes(photo.read_bytes())
    with Image.open(photo) as image:
        image.rotate(90, expand=True).save(photos / "tall.png")
    flags = ["--checkpoint", shaped, "--instruction", "make it blue"]
    edit(*flags, "--image", photos, "--out", out)
    told = capsys.readouterr().out.splitlines()
    lines = {
        "wide.png: 48 x 32, edited at 20 x 12, 90.6 % of its pixels kept",
        "tall.png: 32 x 48, edited at 12 x 20, 90.6 % of its pixels kept",
    }
    assert lines < {line.partition(" (")[0] for line in told}
    for name, (height, width) in (("wide", (12, 20)), ("tall", (20, 12))):
        assert pixels(out / name / "model_size/turn_01.png").shape[:2] == (
            height,
            width,
        )
        record = json.loads((out / name / "session.json").read_text())
        assert record["crop"]["size"] == [height, width]
        left, top, right, bottom = record["crop"]["box"]
        kept = pixels(out / name / "turn_01.png").shape
        assert kept == (bottom - top, right - left, 3)
    flags = ["--checkpoint", shaped, "--image", photos / "tall.png"]
    interact(monkeypatch, ["make it blue"], *flags, "--out", tmp_path / "typed")
    assert capsys.readouterr().out.splitlines()[0].partition(" (")[0] in lines
    typed = pixels(tmp_path / "typed/main/model_size/turn_01.png")
    np.testing.assert_array_equal(typed, pixels(out / "tall/model_size/turn_01.png"))


def test_a_bad_image_of_a_folder_is_named_and_the_others_done(
    checkpoint, photo, tmp_path, capsys
):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "a.png").write_text("not an image")
    (photos / "c.png").write_bytes(photo.read_bytes())
    (photos / "d.png").write_bytes(photo.read_bytes())
    (out / "d").mkdir(parents=True)
    (out / "d" / "mine.txt").touch()
    flags = ["--checkpoint", checkpoint, "--image", photos, "--instruction", "x"]
    with pytest.raises(SystemExit) as caught:
        edit(*flags, "--out", out)
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert "1 of 3 images" in said.out and "2 not done: a.png, d.png" in said.err
    assert "a.png: " in said.err and "is not an image" in said.err
    assert "d.png: " in said.err and "holds other files ('mine.txt')" in said.err
    assert (out / "c" / "turn_01.png").exists() and not (out / "a").exists()


def test_wrong_folders_and_settings_of_a_folder_are_refused(
    checkpoint, photo, tmp_path, capsys
):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    flags = ["--checkpoint", checkpoint, "--image", photos, "--instruction", "x"]
    assert "holds no image" in refused(capsys, *flags, "--out", out)
    (photos / "a.png").write_bytes(photo.read_bytes())
    assert "is not a folder" in refused(capsys, *flags, "--out", photo)
    # One line, not one for each image.
    seed = refused(capsys, *flags, "--out", out, "--seed", -1)
    assert "a seed must be" in seed
    assert "no words" in refused(capsys, *flags, "--out", out, "--instruction", "!?")
    assert not out.exists()


def interact(monkeypatch, lines, *flags):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    edit("--interactive", *flags)


def test_instructions_from_a_pipe(checkpoint, photo, tmp_path, monkeypatch, capsys):
    out, saved = tmp_path / "out", tmp_path / "s.safetensors"
    flags = ["--checkpoint", checkpoint, "--image", photo, "--out", out, "--seed", 5]
    lines = ["make it blue", "add a hat", "undo", "branch night", "edit goto bed"]
    lines += [f"save {saved}", "switch main", "quit", "never reached"]
    interact(monkeypatch, lines, *flags)
    said = capsys.readouterr().out
    assert "main, turn 2: 'add a hat'" in said and "main, night in" in said
    told = {
        name: json.loads((out / name / "session.json").read_text())
        for name in ("main", "night")
    }
    # The result is the history: the turn that was undone is not in it.
    texts = {n: [turn["instruction"] for turn in t["turns"]] for n, t in told.items()}
    assert texts == {"main": ["make it blue"], "night": ["make it blue", "goto bed"]}
    assert not (out / "main" / "turn_02.png").exists()
    assert (out / "night" / "contact_sheet.png").exists()
    assert told["main"]["image"]["path"] == str(photo)
    loaded = EditSession.load(saved)
    made = pixels(out / "night" / "model_size" / "turn_02.png")
    np.testing.assert_array_equal(made, loaded.history[2].pixels)


def test_refused_lines_of_a_pipe_are_an_exit_code(
    checkpoint, photo, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    flags = ["--checkpoint", checkpoint, "--image", photo, "--window", "full"]
    with pytest.raises(SystemExit) as caught:
        interact(monkeypatch, ["undo", "make it blue"], *flags, "--out", out)
    assert caught.value.code == 1
    assert "error: cannot undo 1 turn" in capsys.readouterr().out
    record = json.loads((out / "main" / "session.json").read_text())
    assert len(record["turns"]) == 1 and record["memory"]["window"] is None


def test_wrong_starts_of_an_interactive_session_are_refused(
    checkpoint, photo, tmp_path, capsys
):
    flags = ["--checkpoint", checkpoint, "--interactive", "--out", tmp_path]
    both = refused(capsys, *flags, "--image", photo, "--instruction", "x")
    assert "takes its instructions from stdin" in both
    fresh = [*flags[:-1], tmp_path / "new"]
    assert "given a folder" in refused(capsys, *fresh, "--image", tmp_path)
    assert "is not empty" in refused(capsys, *flags, "--image", photo)


def test_a_terminal_sees_a_bar_of_denoising_steps(
    checkpoint, photo, tmp_path, monkeypatch, capsys
):
    flags = ["--checkpoint", checkpoint, "--steps", 3, "--image"]
    turns = ["--instruction", "make it blue", "--instruction", "add a hat"]
    edit(*flags, photo, *turns, "--out", tmp_path / "plain")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    edit(*flags, photo, *turns, "--out", tmp_path / "seen")
    said = capsys.readouterr().err
    assert "0/6 [" in said and "6/6 [" in said  # 2 turns of 3 steps
    for path in (tmp_path / "plain").rglob("*.png"):  # and sees the same pictures
        other = tmp_path / "seen" / path.relative_to(tmp_path / "plain")
        assert path.read_bytes() == other.read_bytes()
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(photo.read_bytes())
    edit(*flags, photos, *turns, "--out", tmp_path / "folder")
    said = capsys.readouterr().err
    assert "a:   0%" in said and "0/6 [" in said and "images: 100%" in said
    interact(monkeypatch, ["go on"], *flags, photo, "--out", tmp_path / "typed")
    assert "0/3 [" in capsys.readouterr().err
