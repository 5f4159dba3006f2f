"""Images with lists of instructions, as session benchmarks publish them."""

import json

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import ProblemsError, UserError
from anchoredit_jax.evaluation.datasets import (
    LISTS,
    VALIDATION,
    dataset_cases,
    find_layout,
    single_turn_cases,
)
from anchoredit_jax.evaluation.datasets.lists import read_sessions

FIVE = ["a", "b", "c", "d", "e"]


def size_of(size):
    return (16, 16)


def write_image(path):
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(path)


def write(root, *lines):
    write_image(root / "0.png")
    write_image(root / "1.png")
    text = "".join(f"{line}\n" for line in lines)
    (root / "metadata.jsonl").write_text(text, encoding="utf-8")
    return root


def test_sessions_of_five_turns(tmp_path):
    """As MSE-Bench's columns: index, context, description_target."""
    lines = [
        {"file_name": "0.png", "index": 7, "context": FIVE, "summary": "s"},
        {"file_name": "1.png", "instructions": ["x"], "description_target": ["a cat"]},
    ]
    root = write(tmp_path, *map(json.dumps, lines))
    assert find_layout(root) == LISTS
    first, second = dataset_cases(root, size_of)
    assert (first.name, first.instructions) == ("7", tuple(FIVE))
    assert first.source.shape == (16, 16, 3)
    assert first.read_truth is None and first.read_targets is None
    assert (second.name, second.captions) == ("1", ("a cat",))
    (short,) = dataset_cases(root, size_of, turns=2, limit=1)
    assert short.instructions == ("a", "b")
    with pytest.raises(UserError, match="not in the layout of MagicBrush"):
        single_turn_cases(root, size_of)


def test_one_instruction_may_be_a_text(tmp_path):
    root = write(tmp_path, json.dumps({"file_name": "0.png", "instruction": "go"}))
    assert dataset_cases(root, size_of)[0].instructions == ("go",)


def test_a_text_beside_an_image(tmp_path):
    write_image(tmp_path / "cat.png")
    write_image(tmp_path / "without.png")
    (tmp_path / "cat.txt").write_text("make it blue\n\nadd a hat\n")
    assert find_layout(tmp_path) == LISTS
    (case,) = dataset_cases(tmp_path, size_of)
    assert (case.name, case.instructions) == ("cat", ("make it blue", "add a hat"))


def test_other_texts_make_no_list(tmp_path):
    (tmp_path / "README.txt").write_text("hello")
    (tmp_path / "1").mkdir()
    assert find_layout(tmp_path) == VALIDATION
    assert find_layout(tmp_path / "nowhere") == VALIDATION


DAMAGES = {
    "[1]": "line 1: expected a JSON object",
    '{"instructions": ["x"]}': "'file_name' must be the name",
    '{"file_name": "2.png", "instructions": ["x"]}': "'2.png' is not there",
    '{"file_name": "../0.png", "instructions": ["x"]}': "leads out of",
    '{"file_name": "0.png"}': "expected one of instructions, context",
    '{"file_name": "0.png", "instructions": []}': "must be a list of texts",
    '{"file_name": "0.png", "instructions": [3]}': "'instructions' 1 must be a text",
    '{"file_name": "0.png", "instruction": "x", "id": "a b"}': "is not safe",
    '{"file_name": "0.png", "instruction": "x", "description_target": []}': "1 texts",
}


@pytest.mark.parametrize("line", DAMAGES)
def test_a_damaged_line_is_named(tmp_path, line):
    with pytest.raises(ProblemsError) as caught:
        read_sessions(write(tmp_path, line))
    assert "line 1: " in str(caught.value) and DAMAGES[line] in str(caught.value)


def test_two_sessions_of_one_name(tmp_path):
    line = json.dumps({"file_name": "0.png", "instruction": "x"})
    with pytest.raises(ProblemsError, match="line 2: a second session is named '0'"):
        read_sessions(write(tmp_path, line, line))


@pytest.mark.parametrize(
    ("line", "message"), [("{", "line 1, is no JSON"), ("", "list of them is empty")]
)
def test_a_file_that_is_no_list(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        read_sessions(write(tmp_path, line))
