"""Published weights from their folder to an edited image, by the scripts alone."""

import contextlib
import io
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.flags import make_contestant
from anchoredit_jax.session import load_editor
from anchoredit_jax.session.rollout import rollout_sessions
from launch import convert
from tests.convert import tiny_wan

SCRIPTS = Path(__file__).parents[2] / "launch"
WORDS = ("make it blue", "")


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    """(folder of a tiny Wan, its import)."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_wan.register(patch)
        folder = tmp_path_factory.mktemp("wan")
        pipeline = tiny_wan.write_pipeline(folder / "pipeline")
        run = ("import", "--src", pipeline, "--out", folder / "W", "--quiet")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            convert.main([str(argument) for argument in run])
    assert "assumed: data.size: 32 x 32 pixels, as wan_tiny" in said.getvalue()
    return pipeline, folder / "W"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A PNG file of 40 x 40 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def plain(wan, photo):
    """The last turn with the settings that were stored."""
    return by_api(wan[1], photo)


def script(name):
    return runpy.run_path(str(SCRIPTS / f"{name}.py"))


def edit(checkpoint, photo, out, *flags):
    """The last turn's pixels at the model's size, and the session's record."""
    words = [flag for word in WORDS for flag in ("--instruction", word)]
    arguments = ["--checkpoint", checkpoint, "--image", photo, "--out", out]
    script("edit")["main"]([str(a) for a in (*arguments, *words, *flags)])
    with Image.open(out / "model_size" / f"turn_{len(WORDS):02d}.png") as image:
        pixels = np.array(image)
    return pixels, json.loads((out / "session.json").read_text())


def by_api(checkpoint, photo, **settings):
    session = load_editor(checkpoint, **settings).start(photo)
    for word in WORDS:
        session.edit(word)
    return session.history[-1].pixels


def evaluated(checkpoint, image, *flags):
    """The last turn as an evaluation makes it."""
    module = script("evaluate")
    flags = ["--out", "x", "--mesh", "data=1", *flags]
    args = module["make_parser"]().parse_args(flags)
    one = make_contestant(str(checkpoint), args)
    frames = rollout_sessions(
        one.editor, image[None], [WORDS], one.sampler, one.editor.memory
    )
    return frames[0, -1]


def test_an_import_edits_with_what_its_preset_says(wan, photo, tmp_path, plain):
    pixels, record = edit(wan[1], photo, tmp_path / "plain")
    assert pixels.shape == (32, 32, 3)
    sampler, memory = record["sampler"], record["memory"]
    assert (sampler["kind"], sampler["steps"], sampler["shift"]) == ("euler", 2, 5.0)
    assert sampler["guidance"] == 2.0
    assert (memory["sink"], memory["window"]) == (1, 2)
    np.testing.assert_array_equal(pixels, plain)


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (("--shift", "1"), dict(shift=1.0)),
        (("--negative", "make it blue"), dict(negative="make it blue")),
    ],
)
def test_overrides_are_the_same_everywhere(
    wan, photo, tmp_path, plain, flags, settings
):
    pixels, record = edit(wan[1], photo, tmp_path / "other", *flags)
    name, value = next(iter(settings.items()))
    assert record["sampler"][name] == value
    assert not np.array_equal(pixels, plain)
    np.testing.assert_array_equal(pixels, by_api(wan[1], photo, **settings))
    with Image.open(tmp_path / "other" / "model_size" / "turn_00.png") as image:
        found = evaluated(wan[1], np.array(image), *flags).astype(int)
    assert np.abs(found - pixels).max() <= 1  # a batch may round otherwise


def test_parts_that_moved_are_named_by_flags(wan, photo, tmp_path, plain, capsys):
    pipeline, checkpoint = wan
    moved = tmp_path / "moved"
    pipeline.rename(moved)
    try:
        with pytest.raises(UserError, match=r"VAE .* does not exist; .* --vae"):
            load_editor(checkpoint)
        with pytest.raises(UserError, match=r"text encoder .* not exist; .* --text"):
            load_editor(checkpoint, vae=moved / "vae")
        with pytest.raises(SystemExit):
            edit(checkpoint, photo, tmp_path / "no")
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "--vae" in error
        flags = ("--vae", moved / "vae", "--text", moved)
        pixels, _ = edit(checkpoint, photo, tmp_path / "yes", *flags)
    finally:
        moved.rename(pipeline)
    np.testing.assert_array_equal(pixels, plain)


def test_a_checkpoint_of_the_reference(wan, photo, tmp_path, monkeypatch, capsys):
    """Four steps at its timesteps beside its full history."""
    pytest.importorskip("torch")
    tiny_wan.register(monkeypatch)
    src = tiny_wan.write_reference(tmp_path / "model.pt")
    out, pipeline = tmp_path / "W", wan[0]
    convert.main(
        ["import", "--src", str(src), "--out", str(out), "--quiet", "--vae",
         str(pipeline / "vae"), "--text", str(pipeline)]
    )  # fmt: skip
    assert "assumed: model.num_heads: 2, no shape tells" in capsys.readouterr().out
    pixels, record = edit(out, photo, tmp_path / "out")
    assert record["sampler"]["timesteps"] == [1000.0, 750.0, 500.0, 250.0]
    assert record["memory"] == dict(sink=1, window=None, positions="absolute")
    assert record["max_turns"] == len(WORDS)
    with pytest.raises(UserError, match="give load_editor max_turns"):
        load_editor(out).start(photo)
    same = by_api(out, photo, max_turns=2)
    np.testing.assert_array_equal(pixels, same)
    shifted = load_editor(out, shift=3.0).sampler
    assert shifted.timesteps is None and (shifted.steps, shifted.shift) == (4, 3.0)
    convert.main(["inspect", str(out)])
    said = capsys.readouterr().out
    assert "timesteps 1000/750/500/250" in said and "full history, absolute" in said


def test_sizes_and_negatives_that_cannot_be(wan, photo, tmp_path, capsys):
    for flags, message in (
        (("--size", "33"), "size 33 must be a multiple of 16"),
        (("--size", "big"), "a size is 'auto'"),
        (("--guidance", "1", "--negative", "bad"), "give guidance too"),
        (("--attention", "splash"), "splash needs a TPU"),
    ):
        with pytest.raises(SystemExit) as caught:
            edit(wan[1], photo, tmp_path / "no", *flags)
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error
    assert load_editor(wan[1], size=(16, 48)).size_of((40, 40)) == (16, 48)
    # Nobody knows of any training on squares: another shape has its own bucket.
    assert load_editor(wan[1]).size_of((40, 60)) == (16, 32)
