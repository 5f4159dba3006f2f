"""Batches: pure in the step, right in shape and content, padded where short."""

import dataclasses
import itertools
import multiprocessing
import threading

import grain
import numpy as np
import pytest

from anchoredit_jax.data.batches import (
    DataConfig,
    collate,
    iterate_batches,
    open_steps,
)
from anchoredit_jax.data.config import SpritesConfig
from anchoredit_jax.data.sprites import SpriteSource, render, sample_session
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import PatchCodec, from_uint8, to_uint8
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.strict import build_dataclass

CODEC, TEXT = PatchCodec(stride=2), NgramTextEncoder(length=16, dim=32)
CONFIG = DataConfig(size=32, turns=3, batch=4, seed=6)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all((a[k] == b[k]).all() for k in a)


@pytest.fixture(scope="module")
def dataset():
    return grain.MapDataset.source(open_steps(CONFIG, CODEC, TEXT))


def test_shapes_types_and_content(dataset):
    batch = dataset[5]
    shapes = {name: (value.shape, value.dtype) for name, value in batch.items()}
    assert shapes == {
        "latents": ((4, 4, 16, 16, 16), np.float32),
        "text": ((4, 3, 16, 32), np.float32),
        "null_text": ((4, 16, 32), np.float32),
        "id": ((4,), np.int32),
        "frame_valid": ((4, 4), np.float32),
        "answers": ((4, 4, 16, 16), np.float32),
    }
    assert batch["id"].tolist() == [20, 21, 22, 23]
    assert (batch["frame_valid"] == 1).all()
    session = sample_session(6, 22, 3, CONFIG.sprites.weights, CONFIG.null_fraction)
    images = to_uint8(CODEC.decode(batch["latents"][2]))
    assert (images == render(session.scenes)).all()
    texts = [edit.text for edit in session.edits]
    assert (batch["text"][2] == TEXT.encode(texts)).all()


def test_where_several_answers_are_right():
    """Any latent that a right answer changes, and none where the answer is one."""
    kinds = {"background": 1.0, "add_somewhere": 2.0}
    config = dataclasses.replace(
        CONFIG, sprites=SpritesConfig(kinds), null_fraction=0.0
    )
    batch = open_steps(config, CODEC, TEXT)[0]
    assert (batch["answers"][:, 0] == 0).all()
    several = 0
    for row, answers in enumerate(batch["answers"]):
        session = sample_session(6, row, 3, kinds)
        for edit, mask in zip(session.edits, answers[1:], strict=True):
            images = CODEC.encode(from_uint8(render((edit.before, *edit.valid))))
            changed = (images[1:, ..., :12] != images[:1, ..., :12]).any((0, -1))
            expected = changed if len(edit.valid) > 1 else np.zeros_like(changed)
            np.testing.assert_array_equal(mask > 0, expected)
            several += len(edit.valid) > 1
    assert 0 < several < 12


def test_a_batch_is_a_function_of_config_and_step(dataset):
    again = open_steps(CONFIG, CODEC, TEXT)
    late = again[7]  # asked for first, in another order
    assert same(late, dataset[7]) and same(again[0], dataset[0])
    assert not same(dataset[0], dataset[1])
    other = open_steps(dataclasses.replace(CONFIG, seed=7), CODEC, TEXT)
    assert not same(other[0], dataset[0])


def test_batches_of_another_size_hold_the_same_sessions(dataset):
    halves = open_steps(dataclasses.replace(CONFIG, batch=2), CODEC, TEXT)
    for name in ("latents", "text", "id"):
        joined = np.concatenate([halves[6][name], halves[7][name]])
        assert (joined == dataset[3][name]).all()


def test_the_source_starts_again_at_its_length():
    dataset = open_steps(
        dataclasses.replace(CONFIG, sprites=SpritesConfig(length=6)), CODEC, TEXT
    )
    assert dataset[1]["id"].tolist() == [4, 5, 0, 1]
    assert same(dataset[0], dataset[3])


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_iteration_starts_anywhere_and_stops_its_threads(dataset, threads):
    before = threading.active_count()
    batches = iterate_batches(dataset, 1000, threads=threads, read_ahead=3)
    for step, batch in enumerate(itertools.islice(batches, 6), 1000):
        assert same(batch, dataset[step])
    batches.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(timeout=5)
    assert threading.active_count() <= before
    assert same(next(iterate_batches(dataset, threads=threads)), dataset[0])


def test_records_that_know_of_no_other_answers_have_one():
    record = SpriteSource(turns=3, weights={"add_somewhere": 1.0})[0]
    known, unknown = (
        collate([{k: v for k, v in record.items() if k != without}], CODEC, TEXT)
        for without in ("", "answers")
    )
    assert known["answers"].any() and not unknown["answers"].any()
    assert known["answers"].shape == unknown["answers"].shape


def test_shorter_sessions_are_padded():
    long, short = SpriteSource(turns=3, seed=1)[0], SpriteSource(turns=1, seed=2)[0]
    batch = collate([long, short], CODEC, TEXT)
    assert batch["frame_valid"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["latents"].shape[:2] == (2, 4)
    padding = batch["latents"][1, 1:]
    assert (padding == padding[0]).all()
    assert (batch["text"][1, 1:] == 0).all()
    assert (batch["text"][0] == TEXT.encode(long["instructions"])).all()


def test_null_instructions_are_zero_and_change_nothing():
    config = dataclasses.replace(CONFIG, null_fraction=1.0)
    batch = open_steps(config, CODEC, TEXT)[0]
    assert (batch["text"] == 0).all()
    assert (batch["latents"] == batch["latents"][:, :1]).all()


def test_the_config_is_hashable_and_strict():
    assert hash(DataConfig()) == hash(DataConfig())
    weights = {"sprites": {"weights": {"move": 2, "add": 1}}}
    config = build_dataclass(DataConfig, weights, "data")
    assert config.sprites.weights == {"move": 2.0, "add": 1.0}
    assert hash(config) != hash(DataConfig())


def test_dropped_instructions_are_null_and_nothing_else_changes(dataset):
    config = dataclasses.replace(CONFIG, drop_fraction=0.3, batch=40)
    batch, whole = (
        open_steps(c, CODEC, TEXT)[0]
        for c in (config, dataclasses.replace(config, drop_fraction=0.0))
    )
    for name in ("latents", "answers", "frame_valid", "id"):
        np.testing.assert_array_equal(batch[name], whole[name])
    changed = (batch["text"] != whole["text"]).any((2, 3))
    assert 0.2 < changed.mean() < 0.4
    assert not batch["text"][changed].any()
    again = open_steps(dataclasses.replace(config, batch=20), CODEC, TEXT)[1]
    np.testing.assert_array_equal(again["text"], batch["text"][20:])


def test_a_size_that_the_codec_cannot_cut_is_refused():
    with pytest.raises(UserError, match="stride"):
        open_steps(dataclasses.replace(CONFIG, size=33), CODEC, TEXT)


def test_a_worker_that_was_killed_is_told():
    stream = iterate_batches(grain.MapDataset.range(10**6), workers=1)
    assert next(stream) == 0
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(UserError, match="1 processes of data.workers was ended from"):
        for _ in range(100):  # more than are read ahead
            next(stream)
