"""Prompts to token ids: cleaning, end token, length, both kinds of file."""

import json
import logging
import sys

import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.tokenizer import (
    PromptTokenizer,
    clean_prompt,
    load_tokenizer,
)

WORDS = ["<pad>", "</s>", "<unk>", "make", "it", "blue", "don't", '"red"']


def write_json(folder, words=WORDS):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: number for number, word in enumerate(words)}
    model = tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    # As published files have them: none of it may act twice, or at another length.
    if "</s>" in words:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])]
        )
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_spiece(folder):
    sentencepiece = pytest.importorskip("sentencepiece")
    (folder / "text.txt").write_text("make it blue\nmake it red\n" * 10)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "spiece"),
        vocab_size=16,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        minloglevel=2,
    )  # fmt: skip


@pytest.fixture
def tokenizer(tmp_path):
    write_json(tmp_path)
    return load_tokenizer(tmp_path, length=6)


def test_ids_end_token_and_padding(tokenizer):
    ids, lengths = tokenizer.encode(["make it blue", "blue green"])
    assert ids.dtype == lengths.dtype == np.int32
    assert ids.tolist() == [[3, 4, 5, 1, 0, 0], [5, 2, 1, 0, 0, 0]]
    assert lengths.tolist() == [4, 3]
    assert (tokenizer.end, tokenizer.padding, tokenizer.vocabulary) == (1, 0, 8)


def test_the_default_length_is_512(tmp_path):
    write_json(tmp_path)
    assert load_tokenizer(tmp_path).encode(["make"])[0].shape == (1, 512)


@pytest.mark.parametrize("text", ["", "  \n", "&nbsp;"])
def test_an_empty_prompt_is_the_end_token_alone(tokenizer, text):
    ids, lengths = tokenizer.encode([text])
    assert ids.tolist() == [[1, 0, 0, 0, 0, 0]] and lengths.tolist() == [1]


def test_a_long_prompt_is_cut_before_the_end_token_and_that_is_said(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        fits, _ = tokenizer.encode(["make it blue make it"])
        assert not caplog.records
        cut, lengths = tokenizer.encode(["make it blue make it blue blue"])
    assert fits.tolist() == cut.tolist() == [[3, 4, 5, 3, 4, 1]]
    assert lengths.tolist() == [6]
    assert "prompt of 7 tokens: only the first 5 are read" in caplog.text
    assert caplog.text.count("not read: 'blue blue'") == 1  # its end
    tokenizer.encode(["make it blue make it blue blue"])
    assert len(caplog.records) == 1  # once a text
    assert tokenizer.cut_off("make it blue make it red blue") == "red blue"
    assert tokenizer.cut_off("make it blue make it") == ""


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  make\tit \n\n blue\u3000", "make it blue"),
        ("black &amp;amp; white", "black & white"),
        ("&amp;amp;amp;", "&amp;"),  # twice, not until nothing is left
        ("a&nbsp;b", "a b"),
        ("don\u2019t", "don't"),
        ("\u201cred\u201d &ldquo;blue&rdquo;", '"red" "blue"'),
        ("cafe\u0301", "caf\u00e9"),
        ("\ufeffmake\x00 it\x7f", "make it"),
        ("青くして 🎨", "青くして 🎨"),
    ],
)
def test_cleaning(text, cleaned):
    assert clean_prompt(text) == cleaned


def test_cleaning_comes_before_the_tokens(tokenizer):
    ids, _ = tokenizer.encode([" don\u2019t&nbsp;make  \u201cred\u201d"])
    assert ids[0].tolist() == [6, 3, 7, 1, 0, 0]


def test_a_sentencepiece_model_is_read_where_there_is_no_json(tmp_path):
    write_spiece(tmp_path)
    tokenizer = load_tokenizer(tmp_path, length=30)
    ids, lengths = tokenizer.encode(["make it blue", ""])
    assert lengths[1] == 1 and ids[1].tolist() == [1] + [0] * 29
    assert 1 < lengths[0] < 30 and ids[0, lengths[0] - 1] == 1
    assert (ids[0, : lengths[0] - 1] > 2).all() and not ids[0, lengths[0] :].any()
    assert tokenizer.vocabulary == 16
    write_json(tmp_path)
    assert load_tokenizer(tmp_path, length=30).vocabulary == len(WORDS)


@pytest.mark.parametrize("library", ["tokenizers", "sentencepiece"])
def test_a_missing_library_is_named(tmp_path, monkeypatch, library):
    file = {"tokenizers": "tokenizer.json", "sentencepiece": "spiece.model"}[library]
    (tmp_path / file).write_text("{}")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=f"needs the library {library}: pip install"):
        load_tokenizer(tmp_path)


def test_wrong_folders_and_files_are_refused(tmp_path):
    pytest.importorskip("tokenizers")
    pytest.importorskip("sentencepiece")
    with pytest.raises(UserError, match=r"expected tokenizer.json or spiece.model"):
        load_tokenizer(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"no model")
    with pytest.raises(UserError, match="spiece.model' is damaged"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(UserError, match="tokenizer.json' is damaged"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(UserError, match="has no 'model'"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("missing", ["</s>", "<pad>"])
def test_special_tokens_have_to_be_there(tmp_path, missing):
    write_json(tmp_path, [word for word in WORDS if word != missing])
    with pytest.raises(UserError, match=f"has no '{missing}'"):
        load_tokenizer(tmp_path)


def test_a_length_without_room_is_refused():
    with pytest.raises(UserError, match="at least 1 token, given 0"):
        PromptTokenizer(lambda text: [], 1, 0, 2, length=0)
