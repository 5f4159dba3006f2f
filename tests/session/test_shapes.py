"""The size that an image is edited at: training's rule, or what is asked for."""

import dataclasses
import types

import numpy as np
import pytest

from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.data.images import Crop, crop_box
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import CodecConfig
from anchoredit_jax.session import EditSession, edit_together
from anchoredit_jax.session.shapes import editing_size, read_size
from anchoredit_jax.testing import record_compilations
from tests.session.editors import (
    PROMPTS,
    assert_equal_turns,
    bucketed_run,
    make_editor,
    make_run,
)

PHOTOS = {"16:9": (1080, 1920), "4:3": (1200, 1600), "3:4": (1600, 1200),
          "1:1": (1200, 1200)}  # fmt: skip


def photo(height, width):
    pixels = np.random.default_rng(height + width)
    return pixels.integers(0, 256, (height, width, 3), np.uint8)


WIDE, TALL, SQUARE = photo(36, 64), photo(40, 30), photo(32, 32)


@pytest.fixture(scope="module")
def shaped(params):
    """An editor that was trained on all shapes of 16 x 16 pixels."""
    return make_editor(params, run=bucketed_run(16))


def at_full_size(run):
    return types.SimpleNamespace(**{**vars(run), "codec": CodecConfig("wan_vae")})


@pytest.mark.parametrize(
    ("size", "full"), [(1024, True), (512, True), (48, False), (64, False)]
)
@pytest.mark.parametrize("shape", PHOTOS)
def test_nearly_all_of_a_photograph_is_kept(size, full, shape):
    run = at_full_size(bucketed_run(size)) if full else bucketed_run(size)
    photo = PHOTOS[shape]
    chosen = editing_size(run, photo)
    crop = Crop(photo, crop_box(photo, chosen), chosen)
    assert crop.kept >= 0.95
    assert 0.9 * size**2 <= chosen[0] * chosen[1] <= size**2


def test_the_bucket_is_that_of_training():
    run = at_full_size(bucketed_run(1024))
    assert editing_size(run, (1080, 1920)) == (768, 1344)
    assert editing_size(run, (1920, 1080)) == (1344, 768)
    other = bucketed_run(1024, step=128, max_ratio=1.5, rule="ratio")
    assert editing_size(at_full_size(other), (1080, 1920)) == (768, 1152)


def test_weights_trained_on_squares_edit_squares_unless_asked():
    run = make_run(size=48)
    assert editing_size(run, (1080, 1920)) == (48, 48)
    assert editing_size(run, (1080, 1920), "auto") == (36, 64)
    assert editing_size(run, (1080, 1920), 48) == (36, 64)
    assert editing_size(run, (1080, 1920), 96) == (72, 128)
    assert editing_size(run, (1080, 1920), (24, 48)) == (24, 48)
    # Of somebody else's weights the configuration cannot tell.
    assert editing_size(run, (1080, 1920), trained=False) == (36, 64)


def test_another_area_has_steps_of_its_own():
    run = at_full_size(bucketed_run(1024, step=64))
    assert editing_size(run, (1080, 1920), 512) == (384, 672)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (30, "size 30 must be a multiple of 4 .*; the nearest is 32"),
        ((16, 18), "size 16 x 18 .height x width. must .* the nearest is 16 x 16"),
        (0, "the nearest is 4"),
        ("large", "size must be 'auto', a side in pixels, or .*given 'large'"),
        (True, "given True"),
        ((16, 16, 3), r"given \(16, 16, 3\)"),
    ],
)
def test_sizes_that_cannot_be_are_refused(shaped, asked, message):
    with pytest.raises(UserError, match=message):
        shaped.start(SQUARE, size=asked)
    with pytest.raises(UserError, match=message):
        shaped.with_settings(size=asked)


def test_sizes_as_people_write_them():
    written = ("auto", "1024", "1344x768")
    assert [read_size(text) for text in written] == ["auto", 1024, (768, 1344)]
    for text in ("", "big", "12x", "-4", "1x2x3"):
        with pytest.raises(UserError, match=f"a size is 'auto'.*given {text!r}"):
            read_size(text)


def test_what_is_cut_off_is_told():
    crop = Crop((1080, 1920), crop_box((1080, 1920), (768, 1344)), (768, 1344))
    assert crop.describe() == (
        "1920 x 1080, edited at 1344 x 768, 98.4 % of its pixels kept "
        "(1890 x 1080 from 15, 0)"
    )
    nearly = Crop((1000, 5000), (0, 0, 4999, 1000), (16, 80))
    assert "99.9 % of its" in nearly.describe()
    whole = Crop((20, 20), (0, 0, 20, 20), (16, 16))
    assert "100.0 % of its" in whole.describe()


def test_sessions_have_the_shapes_of_their_images(shaped):
    sizes = [shaped.start(image).size for image in (WIDE, TALL, SQUARE)]
    assert sizes == [(12, 20), (16, 12), (16, 16)]
    session = shaped.start(WIDE)
    assert session.edit(PROMPTS[0]).size == (60, 36)
    assert session.history[1].model_image.size == (20, 12)
    assert session.history[1].latent.shape == (1, 6, 10, 16)
    assert session.crop.kept == 60 / 64 and session.record()["kept"] == 60 / 64


def test_a_size_can_be_asked_for_once_or_for_all_sessions(shaped, editor):
    assert editor.start(WIDE).size == (16, 16)
    assert editor.start(WIDE, size="auto").size == (12, 20)
    assert shaped.start(WIDE, size=(8, 12)).size == (8, 12)
    other = shaped.with_settings(size=(16, 16))
    assert other.start(WIDE).size == (16, 16)
    assert other.start(WIDE, size=(8, 12)).size == (8, 12)
    assert other.programs is shaped.programs
    assert other.with_settings(size=(16, 16)) is other
    assert shaped.side == other.side == 16


def test_imported_weights_edit_an_image_in_its_bucket(params):
    lineage = Lineage("imported", 0, "0" * 16, {})
    assert make_editor(params, lineage=lineage).start(WIDE).size == (12, 20)


def test_a_shape_is_compiled_once(shaped):
    def edit(image, prompts):
        session = shaped.start(image)
        for prompt in prompts:
            session.edit(prompt)
        return session

    for image in (WIDE, TALL):
        edit(image, PROMPTS[:1])
    before = [program._cache_size() for program in shaped.programs]
    with record_compilations() as compiled:
        for image in (255 - WIDE, TALL, photo(24, 40), WIDE):
            edit(image, PROMPTS[:3])
    assert compiled == []
    assert [program._cache_size() for program in shaped.programs] == before


def test_sessions_of_several_shapes_are_edited_together(shaped):
    images = (WIDE, TALL, WIDE)
    sessions = [shaped.start(image, seed) for seed, image in enumerate(images)]
    for prompt in PROMPTS[:2]:
        results = edit_together(sessions, prompt)
    assert [image.size for image in results] == [(60, 36), (30, 40), (60, 36)]
    for seed, session in enumerate(sessions):
        alone = shaped.start(images[seed], seed)
        for prompt in PROMPTS[:2]:
            alone.edit(prompt)
        assert_equal_turns(session.history, alone.history)


def test_a_saved_session_keeps_its_shape(shaped, tmp_path):
    session = shaped.start(WIDE)
    for prompt in PROMPTS[:2]:
        session.edit(prompt)
    session.save(tmp_path / "a")
    # Whatever the editor would have chosen by itself.
    for other in (shaped, shaped.with_settings(size=(16, 16))):
        loaded = EditSession.load(tmp_path / "a", other)
        assert loaded.size == (12, 20) and loaded.crop == session.crop
        assert_equal_turns(session.history, loaded.history)
    assert np.array_equal(session.edit("go on"), loaded.edit("go on"))


def test_files_from_before_shapes_were_kept_load(shaped, tmp_path, monkeypatch):
    session = shaped.start(WIDE, size=(16, 16))
    session.edit(PROMPTS[0])
    record = {key: v for key, v in session.record().items() if key != "kept"}
    monkeypatch.setattr(session, "record", lambda: record)
    session.save(tmp_path / "a")
    loaded = EditSession.load(tmp_path / "a", shaped)
    assert_equal_turns(session.history, loaded.history)


def test_frames_of_another_size_than_the_source_are_damage(
    shaped, tmp_path, monkeypatch
):
    session = shaped.start(WIDE)
    record = session.record()
    record["crop"] = dataclasses.asdict(shaped.start(TALL).crop)
    monkeypatch.setattr(session, "record", lambda: record)
    session.save(tmp_path / "a")
    with pytest.raises(UserError, match="damaged one: .*16, 12, 3.*12, 20, 3"):
        EditSession.load(tmp_path / "a", shaped)
