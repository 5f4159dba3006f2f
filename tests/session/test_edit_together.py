"""Several sessions in one call: the bits of each alone, all of them or none."""

import numpy as np
import pytest

from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.session import EditSession, edit_together
from anchoredit_jax.testing import record_compilations
from tests.session.editors import PROMPTS, SOURCE, assert_equal_turns, edited

SOURCES = (SOURCE, 255 - SOURCE, SOURCE[:, ::-1])


def start(editor):
    return [editor.start(source, seed=i) for i, source in enumerate(SOURCES)]


def alone(editor, number, prompts, seeds=None):
    """The same session with nobody beside it."""
    session = editor.start(SOURCES[number], seed=number)
    for prompt, seed in zip(prompts, seeds or [None] * len(prompts), strict=True):
        session.edit(prompt, seed)
    return session


def test_each_session_has_the_bits_that_it_has_alone(editor):
    sessions = start(editor)
    edit_together(sessions, ["a hat", "", "make it blue"])
    images = edit_together(sessions, "go on", seeds=[7, None, 9])
    for number, first in enumerate(["a hat", "", "make it blue"]):
        seed = (7, None, 9)[number]
        expected = alone(editor, number, (first, "go on"), (None, seed))
        assert_equal_turns(sessions[number].history, expected.history)
        assert sessions[number].history[2].seed == (7, 1, 9)[number]
        assert np.array_equal(images[number], expected.image)


def test_members_may_be_undone_branched_saved_and_left_out(editor, tmp_path):
    sessions = start(editor)
    for prompt in PROMPTS[:4]:
        edit_together(sessions, prompt)
    branch = sessions[0].branch()
    sessions[1].undo(3)
    sessions[2].save(tmp_path / "c")
    loaded = EditSession.load(tmp_path / "c", editor)
    edit_together([loaded, sessions[1], branch, sessions[0]], ["x", "y", "z", "w"])
    for session, number, prompts in (
        (sessions[0], 0, (*PROMPTS[:4], "w")),
        (branch, 0, (*PROMPTS[:4], "z")),
        (sessions[1], 1, (PROMPTS[0], "y")),
        (sessions[2], 2, PROMPTS[:4]),
        (loaded, 2, (*PROMPTS[:4], "x")),
    ):
        expected = alone(editor, number, prompts)
        assert_equal_turns(session.history, expected.history)


def test_sessions_of_other_settings_take_part(editor):
    guided = editor.with_settings(sampler=SamplerConfig(steps=3, guidance=2.0))
    pair = [editor.start(SOURCE), guided.start(SOURCE)]
    calls = []
    edit_together(pair, PROMPTS[0], on_step=lambda *numbers: calls.append(numbers))
    assert calls == [(step, 5) for step in range(1, 6)]
    for session in pair:
        expected = edited(session.editor, PROMPTS[:1])
        assert_equal_turns(session.history, expected.history)


def test_no_number_of_sessions_compiles_anything(editor):
    edited(editor, PROMPTS[:2])
    with record_compilations() as compiled:
        for count in (1, 2, 3):
            sessions = start(editor)[:count]
            edit_together(sessions, PROMPTS[0])
            edit_together(sessions, PROMPTS[1])
    assert compiled == []
    assert edit_together([], "go on") == []


@pytest.mark.parametrize(
    ("instructions", "seeds", "message"),
    [
        (["a", "b"], None, "2 instructions and 3 seeds were given for 3 sessions"),
        ("a", [1, 2], "3 instructions and 2 seeds"),
        (["a", "b", None], None, "an instruction must be text"),
        ("a", [1, 2, -3], "a seed must be from 0"),
        (["a", "b", "one two three four five six seven"], None, "at most 6"),
    ],
)
def test_one_that_is_refused_moves_none(editor, instructions, seeds, message):
    sessions = start(editor)
    with pytest.raises(UserError, match=message):
        edit_together(sessions, instructions, seeds)
    assert [len(session.turns) for session in sessions] == [1, 1, 1]


def test_a_session_cannot_be_given_twice(editor):
    session = editor.start(SOURCE)
    with pytest.raises(UserError, match="given twice: branch it"):
        edit_together([session, session.branch(), session], "a")
    assert session.turn == 0


def test_an_interrupted_call_moves_none(editor):
    sessions = start(editor)

    def stop(step, steps):
        if step == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit_together(sessions, PROMPTS[0], on_step=stop)
    assert [session.turn for session in sessions] == [0, 0, 0]
