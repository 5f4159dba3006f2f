"""Tokenizer and frozen text encoder: stable, distinct, null means null."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anchoredit_jax.encoders import make_text_encoder
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.text import (
    ByteTokenizer,
    NgramTextEncoder,
    TextConfig,
    split_words,
)
from anchoredit_jax.strict import build_dataclass


@pytest.fixture(scope="module")
def encoder():
    return make_text_encoder(TextConfig(length=16, dim=64))


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("text", ["", "make it blue", "mach es grün", "青くして 🎨"])
def test_tokenizer_round_trip(text):
    ids = ByteTokenizer().encode(text)
    assert ids.dtype == np.int32 and len(ids) == len(text.encode())
    assert not (ids == ByteTokenizer.padding).any()
    assert ids.max(initial=0) < ByteTokenizer.vocabulary
    padded = np.concatenate([ids, np.zeros(3, np.int32)])
    assert ByteTokenizer().decode(padded) == text


def test_tokenizer_shows_a_cut_character():
    assert ByteTokenizer().decode(ByteTokenizer().encode("ü")[:1]) == "\ufffd"


def test_embeddings_have_the_promised_shape_and_size(encoder):
    embedded = encoder.encode(["make the background blue", "add a red circle"])
    assert embedded.shape == (2, 16, 64) and embedded.dtype == np.float32
    assert np.sqrt(np.mean(embedded[0, 0] ** 2)) == pytest.approx(1)
    assert 0.8 < np.sqrt(np.mean(embedded[0, :4] ** 2)) < 1.5


def test_vectors_after_the_end_and_of_the_null_instruction_are_zero(encoder):
    embedded = encoder.encode(["make it blue", "", "  \n"])
    assert (embedded[0, :3] != 0).all(-1).all() and not embedded[0, 3:].any()
    assert not embedded[1:].any()
    assert encoder.encode([]).shape == (0, 16, 64)


def test_case_space_and_punctuation_do_not_matter(encoder):
    a, b = encoder.encode(["make it blue", '  Make IT,\t"blue"! '])
    np.testing.assert_array_equal(a, b)
    assert split_words("Ｂlue") == ["blue"]  # a full-width letter


def test_different_instructions_differ(encoder):
    texts = ["red to blue", "blue to red", "red to green", "to red blue", "red blue to"]
    embedded = encoder.encode(texts)
    for i in range(len(texts)):
        for j in range(i):
            assert np.abs(embedded[i] - embedded[j]).max() > 0.5


def test_order_shows_in_the_vectors_themselves(encoder):
    # Seen as a bag of vectors, as attention without positions would.
    a, b = encoder.encode(["red to blue", "blue to red"])
    assert np.abs(a.sum(0) - b.sum(0)).max() > 0.3


def test_a_text_does_not_depend_on_its_neighbours(encoder):
    alone = encoder.encode(["paint the circle green"])[0]
    other = NgramTextEncoder(16, 64).encode(["green", "", "paint the circle green"])
    np.testing.assert_array_equal(other[2], alone)


def test_words_that_share_letters_are_close(encoder):
    words = encoder.encode(["colour", "colours", "circle"])
    colour, colours, circle = words[:, 0]
    assert cosine(colour, colours) > 0.4 > abs(cosine(colour, circle)) + 0.1


def test_short_words_are_distinct(encoder):
    words = ["a", "i", "to", "at", "in", "on", "ab", "ba"]
    vectors = [encoder.encode([word])[0, 0] for word in words]
    for i in range(len(words)):
        for j in range(i):
            assert cosine(vectors[i], vectors[j]) < 0.6


def test_more_words_than_fit_are_refused_with_the_limit():
    encoder = NgramTextEncoder(length=3, dim=8)
    encoder.encode(["one two three"])
    with pytest.raises(UserError, match="4 words.*at most 3.*'one two three four'"):
        encoder.encode(["one", "one two three four"])


def test_text_without_a_word_is_not_taken_for_the_null_instruction(encoder):
    with pytest.raises(UserError, match=r"'\?!' has no words"):
        encoder.encode(["?!"])


def test_seed_and_width_are_used():
    a = NgramTextEncoder(4, 8, seed=0).encode(["blue"])
    b = NgramTextEncoder(4, 8, seed=1).encode(["blue"])
    assert (a != b).any()
    wide = NgramTextEncoder(4, 1000).encode(["blue"])[0, 0]
    assert np.isfinite(wide).all() and len(np.unique(wide)) > 2
    assert cosine(wide[:488], wide[512:]) < 0.3  # no block of bits is used twice


def test_vectors_are_the_same_in_another_process(encoder):
    ours = encoder.encode(["make the background blue"])
    code = (
        "import hashlib; from anchoredit_jax.models.text import NgramTextEncoder as E;"
        "x = E(16, 64).encode(['make the background blue']);"
        "print(hashlib.sha256(x.tobytes()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == hashlib.sha256(ours.tobytes()).hexdigest()


def test_vectors_are_the_same_for_ever():
    # Shipped weights were trained with these signs: they must never change.
    word = NgramTextEncoder(4, 8).encode(["blue"])[0, 0]
    frozen = np.array([-5, -1, 7, -1, 3, -1, 1, -3]) / np.sqrt(12)
    np.testing.assert_allclose(word, frozen, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"kind": "t5"}, {"length": 0}, {"dim": 0}, {"ngram": {"seed": -1}}]
)
def test_wrong_settings_are_refused(options):
    with pytest.raises(UserError, match=f"text.*{next(iter(options))}"):
        build_dataclass(TextConfig, options, "text")
