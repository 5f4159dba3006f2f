"""Finished sessions on disk: kept whole, found again, never mixed with others."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.cases import Case, sprite_cases
from anchoredit_jax.evaluation.frame_store import open_store
from anchoredit_jax.evaluation.parts.identity import identity_cases
from tests.damage import damage_bytes, damage_value


@pytest.fixture
def case():
    source = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    return Case("cat", source, ("make it blue", ""))


@pytest.fixture
def frames():
    return np.random.default_rng(1).integers(0, 256, (2, 4, 6, 3)).astype(np.uint8)


def test_what_was_written_is_read(tmp_path, case, frames):
    store = open_store(tmp_path / "a" / "b", {"seed": 1})
    assert not store.holds(case)
    store.write(case, frames)
    again = open_store(tmp_path / "a" / "b", {"seed": 1})
    assert again.holds(case)
    np.testing.assert_array_equal(again.read(case), frames)
    assert not [path for path in store.folder.iterdir() if path.suffix == ".part"]


def test_other_settings_are_refused_by_name(tmp_path):
    open_store(tmp_path, {"seed": 1, "weights": "abc"})
    with pytest.raises(UserError, match="another seed .seed: 1, now 2.: give another"):
        open_store(tmp_path, {"seed": 2, "weights": "abc"})
    with pytest.raises(UserError, match="another seed and weights"):
        open_store(tmp_path, {"seed": 2, "weights": "def"})


def test_another_session_of_the_same_name_is_refused(tmp_path, case, frames):
    store = open_store(tmp_path, {})
    store.write(case, frames)
    for other in (
        dataclasses.replace(case, source=255 - case.source),
        dataclasses.replace(case, instructions=("make it red", "")),
        dataclasses.replace(case, instructions=("make it blue", "", "")),
    ):
        with pytest.raises(UserError, match="another source or other instructions"):
            store.holds(other)


def test_a_damaged_picture_is_named(tmp_path, case, frames):
    store = open_store(tmp_path, {})
    store.write(case, frames)
    path = tmp_path / "cat.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"cat.png is damaged .*: remove it"):
        store.read(case)
    path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="remove it"):
        store.holds(case)


def test_sprite_cases_hold_the_truth(sessions):
    cases = sprite_cases(sessions[:2], 32)
    truth = cases[1].read_truth()
    assert truth.shape == (7, 32, 32, 3) and len(cases[1].instructions) == 6
    np.testing.assert_array_equal(truth[0], cases[1].source)
    assert not np.array_equal(truth[-1], cases[0].read_truth()[-1])


def test_in_the_identity_loop_the_source_is_right(sessions):
    (case,) = identity_cases(sprite_cases(sessions[:1], 32), 3)
    assert case.instructions == ("", "", "")
    np.testing.assert_array_equal(case.read_truth(), np.stack([case.source] * 4))


def test_damages_are_refused_or_do_not_matter(tmp_path, case, frames):
    open_store(tmp_path, {"seed": 1, "memory": {"sink": 1}}).write(case, frames)
    path, settings = tmp_path / "cat.png", tmp_path / "settings.json"
    picture, text = path.read_bytes(), settings.read_bytes()
    refused = 0
    for seed in range(200):
        path.write_bytes(picture if seed % 2 else damage_bytes(picture, seed))
        if seed % 4 == 1:
            settings.write_bytes(damage_bytes(text, seed))
        elif seed % 4 == 3:
            settings.write_text(json.dumps(damage_value(json.loads(text), seed)))
        else:
            settings.write_bytes(text)
        try:
            store = open_store(tmp_path, {"seed": 1, "memory": {"sink": 1}})
            if store.holds(case):
                np.testing.assert_array_equal(store.read(case), frames)
        except UserError:
            refused += 1
    assert 150 < refused


def test_a_picture_of_another_size_is_not_decoded(tmp_path, case, frames):
    store = open_store(tmp_path, {})
    store.write(case, frames[:1])
    with pytest.raises(UserError, match=r"expected a picture .*6, 8.*found .*6, 4"):
        store.holds(case)


def test_edited_pixels_are_refused_and_former_pictures_are_read(tmp_path, case, frames):
    store = open_store(tmp_path, {})
    store.write(case, frames)
    path = tmp_path / "cat.png"
    for digest, edited in (("pixels", True), (None, False)):
        with Image.open(path) as picture:
            told = PngInfo()
            told.add_text("case", case.digest)
            if digest:
                told.add_text("pixels", picture.info["pixels"])
            pixels = np.array(picture)
        pixels[0, 0, 0] ^= edited
        Image.fromarray(pixels).save(path, pnginfo=told)
        assert store.holds(case)
        if edited:
            with pytest.raises(UserError, match="was edited or is damaged.*remove it"):
                store.read(case)
    store.read(case)  # the digest is missing: an earlier version wrote it
