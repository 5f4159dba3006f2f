"""Sessions that leave turns out behind the source, as a long session's memory does."""

import hashlib

import numpy as np
import pytest

from anchoredit_jax.data.batches import DataConfig, open_steps
from anchoredit_jax.data.sprites import SpriteSource, render
from anchoredit_jax.models.codec import PatchCodec, to_uint8
from anchoredit_jax.models.text import NgramTextEncoder

CODEC, TEXT = PatchCodec(), NgramTextEncoder(length=16, dim=32)
SETTINGS = dict(turns=3, seed=2, skip_turns=6)


@pytest.fixture(scope="module")
def source():
    return SpriteSource(**SETTINGS)


def test_the_share_and_the_number_of_turns_left_out(source):
    skipped = np.array([source.skipped(index) for index in range(400)])
    assert 0.4 < (skipped > 0).mean() < 0.6
    assert set(skipped.tolist()) == set(range(7))
    assert SpriteSource(turns=3, seed=2).skipped(1) == 0


def test_a_record_is_the_source_and_the_last_turns_of_a_longer_session(source):
    for index in range(20):
        record, session = source[index], source.session(index)
        skip = source.skipped(index)
        assert len(session.edits) == 3 + skip
        scenes = [session.scenes[0], *session.scenes[-3:]]
        assert (record["images"] == render(scenes)).all()
        edits = session.edits[-3:]
        assert record["instructions"] == [edit.text for edit in edits]
        several = [len(edit.valid) > 1 for edit in edits]
        assert record["answers"].any((1, 2)).tolist() == several
        assert record["follows"] == [skip == 0, True, True]


def test_the_first_frame_after_a_gap_is_no_target(source):
    batch = open_steps(DataConfig(**SETTINGS, batch=8, null_fraction=0), CODEC, TEXT)
    for index, valid in enumerate(batch[0]["frame_valid"]):
        assert valid.tolist() == [1, source.skipped(index) == 0, 1, 1]
    images = to_uint8(CODEC.decode(batch[0]["latents"][5]))
    assert images.shape == (4, 32, 32, 3)


def test_records_are_those_of_earlier_versions():
    """Which turns are left out and what is said, of settings as ever."""
    settings = dict(turns=4, seed=0, null_fraction=0.05)
    sources = (
        SpriteSource(**settings, skip_turns=10, skip_probability=0.7),
        SpriteSource(**settings, layout="star"),
    )
    told = [
        (record["instructions"], record["follows"], record["id"])
        for source in sources
        for record in source.records(range(20))
    ]
    assert hashlib.sha256(repr(told).encode()).hexdigest()[:16] == "35f629eba04f199c"
