"""Typed lines: what is a command, what an instruction, what is neither."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import EditSession
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.interactive import HELP, Prompt, split_line
from tests.session.editors import SOURCE, assert_equal_turns, edited


@pytest.fixture
def prompt(editor, tmp_path):
    said = []
    made = Prompt(Branches(editor.start(SOURCE)), tmp_path / "out", said.append)
    made.said = said
    return made


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("make it blue", ("edit", "make it blue")),
        ("edit undo the damage", ("edit", "undo the damage")),
        ("edit", ("edit", "")),
        ("Undo", ("undo", "")),
        ("undo  3", ("undo", "3")),
        ("branch night_2", ("branch", "night_2")),
        ("save my file.safetensors", ("save", "my file.safetensors")),
        ("dramatic", ("edit", "dramatic")),
        ("undone but for 2 hats", ("edit", "undone but for 2 hats")),
    ],
)
def test_commands_and_instructions(line, expected):
    assert split_line(line) == expected


@pytest.mark.parametrize(
    "line",
    ["undo the last hat", "undo -1", "goto", "goto two", "quit smoking", "help him",
     "branch", "branch of an oak", "switch the colours", "save", "save the whales"],
)  # fmt: skip
def test_a_command_used_wrongly_says_how_and_how_to_edit_instead(line):
    with pytest.raises(UserError, match=f"{line}' is not '.*write: edit {line}"):
        split_line(line)


@pytest.mark.parametrize(
    ("line", "near"),
    [("udno", "undo"), ("unod 2", "undo"), ("/undo 2", "undo"), ("swich x2", "switch"),
     ("brnch", "branch"), ("/nothing", "")],
)  # fmt: skip
def test_an_unknown_command_names_the_nearest(line, near):
    hint = f"did you mean '{near}'" if near else "'help' lists all"
    with pytest.raises(UserError, match=f"unknown command '{line}': .*{hint}"):
        split_line(line)


def test_every_turn_is_written_at_once(prompt):
    folder = prompt.out / "main"
    assert [path.name for path in folder.glob("*.png")] == ["turn_00.png"]
    for number, line in enumerate(("make it blue", "add a hat"), start=1):
        assert prompt.take(line)
        with Image.open(folder / f"turn_0{number}.png") as image:
            assert np.array_equal(image, prompt.branches.session.image)
        assert f"main, turn {number}: '{line}'" in prompt.said[-1]


def test_an_edit_opens_a_bar_that_is_told_every_step(editor, tmp_path):
    seen = []

    @contextlib.contextmanager
    def bar(steps):
        seen.append(f"open for {steps}")
        yield lambda step, steps: seen.append((step, steps))
        seen.append("closed")

    made = Prompt(Branches(editor.start(SOURCE)), tmp_path / "out", print, bar)
    made.run(["undo 0", "make it blue", "undo"])
    assert seen == ["open for 2", (1, 2), (2, 2), "closed"]


def test_undo_goto_branch_and_switch(prompt, editor, tmp_path):
    lines = ["make it blue", "add a hat", "undo", "branch night", "make it red", ""]
    lines += ["switch main", "goto 2", "edit go on", f"save {tmp_path / 's'}", "quit"]
    assert prompt.run([*lines, "never reached"]) == []
    sessions = dict(prompt.branches)
    assert list(sessions) == ["main", "night"]
    expected = edited(editor, ("make it blue", "add a hat", "go on"))
    assert_equal_turns(sessions["main"].history, expected.history)
    expected = edited(editor, ("make it blue", "make it red"))
    assert_equal_turns(sessions["night"].history, expected.history)
    names = sorted(path.name for path in (prompt.out / "night").glob("*.png"))
    assert names == ["turn_00.png", "turn_01.png", "turn_02.png"]
    saved = EditSession.load(tmp_path / "s", editor)
    assert_equal_turns(saved.history, sessions["main"].history)


def test_wrong_lines_are_said_and_change_nothing(prompt):
    lines = ["make it blue", "undo 5", "goto 9", "switch nowhere", "branch main",
             "branch a/b", "one two three four five six seven", "udno",
             "help"]  # fmt: skip
    refused = prompt.run(lines)
    for line, message in zip(
        refused,
        ["cannot undo 5", "no turn 9", "no branch 'nowhere'; branches: main",
         "a branch 'main' already", "given 'a/b'", "7 words", "unknown command"],
        strict=True,
    ):  # fmt: skip
        assert message in line
        assert f"error: {line}" in prompt.said
    assert prompt.branches.session.turn == 1 and prompt.branches.names == ("main",)
    assert prompt.said[-1] == HELP and "undo [N]" in HELP


def test_nothing_is_saved_into_the_folder_of_results(prompt):
    with pytest.raises(UserError, match="lies in the folder of the results"):
        prompt.take(f"save {prompt.out}/main/session")


def test_ctrl_c_ends_the_session(prompt):
    def lines():
        yield "make it blue"
        raise KeyboardInterrupt

    assert prompt.run(lines()) == []
    assert prompt.said[-1] == "stopped" and prompt.branches.session.turn == 1


def test_names_of_branches(editor):
    branches = Branches(editor.start(SOURCE))
    assert branches.free_name() == "branch-2"
    branches.branch("Branch-2")
    assert branches.free_name() == "branch-3" and branches.current == "Branch-2"
    for name in ("", "..", "a b", "x" * 41, "-"):
        with pytest.raises(UserError, match="a branch's name has 1 to 40"):
            branches.branch(name)
    with pytest.raises(UserError, match="a branch 'Branch-2' already"):
        branches.branch("BRANCH-2")
