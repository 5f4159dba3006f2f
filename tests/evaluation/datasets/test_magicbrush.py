"""MagicBrush's published layout, in both of its settings."""

import json

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import ProblemsError, UserError
from anchoredit_jax.evaluation import PARTS, Settings, check_parts, parse_policies
from anchoredit_jax.evaluation.datasets import (
    MAGICBRUSH,
    dataset_cases,
    find_layout,
    single_turn_cases,
)
from anchoredit_jax.evaluation.datasets.magicbrush import read_sessions
from anchoredit_jax.evaluation.parts.sessions import targets_table
from anchoredit_jax.evaluation.summary import LAST, summarise
from anchoredit_jax.evaluation.table import table_of

EDITS = {"30": ["add a hat"], "139": ["make it red", "add a dog", "remove the dog"]}


def size_of(size):
    return (16, 16)


def document(name):
    """The edits of a session, as published."""
    places = [f"{name}-input.png"]
    places += [f"{name}-output{k}.png" for k in range(1, len(EDITS[name]) + 1)]
    return [
        {
            "input": places[turn],
            "mask": f"{name}-mask{turn + 1}.png",
            "output": places[turn + 1],
            "instruction": text,
        }
        for turn, text in enumerate(EDITS[name])
    ]


def write(root, sessions=None, captions=True):
    """A test set; masks lie there too, and are not read."""
    rng = np.random.default_rng(0)
    for name, texts in EDITS.items():
        folder = root / "images" / name
        folder.mkdir(parents=True)
        places = ["input", *(f"output{k}" for k in range(1, len(texts) + 1)), "mask1"]
        for place in places:
            pixels = rng.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}-{place}.png")
    found = {name: document(name) for name in EDITS} if sessions is None else sessions
    (root / "edit_sessions.json").write_text(json.dumps(found))
    if captions:
        told = {
            name: {
                edit["output"]: f"after {edit['instruction']}"
                for edit in document(name)
            }
            for name in EDITS
        }
        (root / "global_descriptions.json").write_text(json.dumps(told))
    return root


def pixels(root, name, place):
    with Image.open(root / "images" / name / f"{name}-{place}.png") as image:
        return np.array(image)


def test_the_multi_turn_setting(tmp_path):
    root = write(tmp_path)
    assert find_layout(root) == MAGICBRUSH
    first, second = dataset_cases(root, size_of)
    assert (first.name, second.name) == ("30", "139")
    assert second.instructions == tuple(EDITS["139"])
    assert second.captions == tuple(f"after {text}" for text in EDITS["139"])
    assert second.source.shape == (16, 16, 3)
    assert second.read_truth().shape == (4, 16, 16, 3)
    targets = second.read_targets()
    assert len(targets) == 3
    np.testing.assert_array_equal(targets[2], pixels(root, "139", "output3"))
    short = dataset_cases(root, size_of, turns=2, limit=2)[1]
    assert short.instructions == tuple(EDITS["139"][:2])
    assert len(dataset_cases(root, size_of, limit=1)) == 1


def test_the_single_turn_setting_starts_from_the_right_image(tmp_path):
    root = write(tmp_path)
    cases = single_turn_cases(root, lambda size: size)
    names = [case.name for case in cases]  # those of the published results
    assert names == ["30_1", "139_1", "139_inde_2", "139_inde_3"]
    last = cases[-1]
    assert last.instructions == ("remove the dog",)
    np.testing.assert_array_equal(last.source, pixels(root, "139", "output2"))
    np.testing.assert_array_equal(
        last.read_targets()[0], pixels(root, "139", "output3")
    )


def test_a_list_of_turns_alone_gives_the_same_sessions(tmp_path):
    root = write(tmp_path)
    sessions = read_sessions(root)
    (root / "edit_sessions.json").unlink()
    turns = [edit for name in EDITS for edit in document(name)]
    (root / "edit_turns.json").write_text(json.dumps(turns))
    assert read_sessions(root) == sessions


def test_without_captions(tmp_path):
    (case, _) = dataset_cases(write(tmp_path, captions=False), size_of)
    assert case.captions == (None,)


def changed(name, turn, **values):
    """All sessions, one edit of which has other values."""
    sessions = {own: document(own) for own in EDITS}
    sessions[name][turn] |= values
    return sessions


DAMAGES = {
    "no list": ({"30": {"input": "x"}}, "30: expected a list of edits"),
    "no edits": ({"30": []}, "30: expected a list of edits"),
    "no object": ({"30": ["text"]}, "edit 1 must be an object"),
    "no text": (changed("30", 0, instruction=None), "'instruction' must be a text"),
    "long text": (changed("30", 0, instruction="x" * 5000), "at most 4096"),
    "no name": (changed("30", 0, output=3), "'output' must be the name of a file"),
    "gone": (
        changed("30", 0, output="30-output9.png"),
        "'30-output9.png' is not there",
    ),
    "outside": (changed("30", 0, input="../139/139-input.png"), "leads out of"),
    "absolute": (changed("30", 0, input="/etc/hostname"), "leads out of"),
    "out of order": (changed("139", 1, input="139-input.png"), "out of order"),
    "name": ({"a/b": document("30")}, "the name 'a/b' is not safe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_session_is_named(tmp_path, damage):
    sessions, message = DAMAGES[damage]
    with pytest.raises(ProblemsError, match="evaluated as a whole") as caught:
        read_sessions(write(tmp_path, sessions))
    assert message in str(caught.value)


def test_an_image_that_is_none_is_named(tmp_path):
    root = write(tmp_path)
    (root / "images" / "139" / "139-output2.png").write_bytes(b"no image")
    with pytest.raises(ProblemsError, match="139: .*139-output2.png"):
        read_sessions(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot be read"), ("[]", "expected an object"), ("{}", "list of edits is")],
)
def test_a_list_that_is_none(tmp_path, content, message):
    root = write(tmp_path)
    (root / "edit_sessions.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_sessions(root)


def test_single_turns_are_a_part_of_this_layout_alone(tmp_path):
    asked = {"policies": parse_policies("full"), "sessions": None, "turns": None}
    root = write(tmp_path)
    assert "single_turn" in check_parts(Settings(dataset=str(root), **asked)).parts
    (root / "edit_sessions.json").unlink()
    assert "single_turn" not in check_parts(Settings(dataset=str(root), **asked)).parts
    other = Settings(dataset=str(root), parts=("single_turn",), **asked)
    with pytest.raises(UserError, match="single_turn: these need other data"):
        check_parts(other)
    sprites = check_parts(Settings(parse_policies("full")))
    assert "single_turn" not in sprites.parts
    assert PARTS["single_turn"].layout == MAGICBRUSH


def test_the_final_turn_is_each_sessions_own():
    """Sessions of 1 and 3 turns: the mean of 0.5 and 0.1, not of the third turn."""
    values = np.array([[0.5, np.nan, np.nan], [0.3, 0.2, 0.1]])
    numbers = summarise({"l1": values, "clip_target": values * 2}, lengths=[1, 3])
    assert numbers[LAST]["l1"]["mean"] == pytest.approx(0.3)
    assert numbers["per_turn"]["l1"][2]["mean"] == pytest.approx(0.1)
    table = table_of({"table": {"toy": {"window3": numbers}}}, ["table"])
    (text,) = targets_table(table, LAST)
    assert "L1 to the target" in text and "CLIP-I" in text
    assert text.splitlines()[-1].split()[-2:] == ["0.3000", "0.6000"]
