"""Denoising steps: told one by one, and with the same bits as all at once."""

import numpy as np
import pytest

from anchoredit_jax import load_editor
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.session import EditSession
from anchoredit_jax.testing import record_compilations
from tests.session.editors import PROMPTS, SOURCE, assert_equal_turns, edited

SAMPLE = "anchoredit_jax/assets/sample.png"
TRAINED = SamplerConfig(timesteps=(1000.0, 700.0, 200.0))
GUIDED = SamplerConfig("euler", steps=3, guidance=2.0)


def told(session, prompts=PROMPTS[:3]):
    """Edits with a callback; what it was told."""
    calls = []
    for prompt in prompts:
        session.edit(prompt, on_step=lambda *numbers: calls.append(numbers))
    return calls


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (dict(), 2),
        (dict(sampler=TRAINED), 3),
        (dict(sampler=GUIDED, memory=MemoryConfig(1, 2, "absolute")), 3),
        (dict(memory=MemoryConfig(window=None), max_turns=3), 2),
    ],
)
def test_every_step_is_told_and_the_bits_are_the_same(editor, settings, steps):
    made = editor.with_settings(**settings)
    session = made.start(SOURCE)
    one_turn = [(step, steps) for step in range(1, steps + 1)]
    assert made.steps == steps
    assert told(session) == 3 * one_turn
    assert_equal_turns(session.history, edited(made, PROMPTS[:3]).history)


def test_the_shipped_weights_do_not_notice_either():
    editor = load_editor()
    session, plain = editor.start(SAMPLE), editor.start(SAMPLE)
    calls = told(session, PROMPTS[:1])
    plain.edit(PROMPTS[0])
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert_equal_turns(session.history, plain.history)


def test_steps_are_taken_in_one_call_unless_somebody_asks(editor):
    """Nothing waits for a step then; and both ways are the same compiled program."""
    drawn, programs = [], editor.programs

    def draw(params, memory, text, x, noise, first, last):
        drawn.append((first, last))
        return programs.draw(params, memory, text, x, noise, first, last)

    session = edited(editor, PROMPTS[:1])
    counting = editor.with_settings(sampler=SamplerConfig(steps=2, shift=2.0))
    counting.__dict__["programs"] = programs._replace(draw=draw)
    session = EditSession(counting, session.history, seed=0)
    with record_compilations() as compiled:
        session.edit(PROMPTS[1])
        assert drawn == [(0, 2)]
        told(session, PROMPTS[2:3])
    assert drawn == [(0, 2), (0, 1), (1, 2)]
    assert compiled == []


def test_a_callback_that_raises_leaves_the_session_as_it_was(editor):
    session = edited(editor, PROMPTS[:2])

    def stop(step, steps):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.edit("something else", on_step=stop)
    assert session.turn == 2 and len(session.turns) == 3
    session.edit(PROMPTS[2])
    assert_equal_turns(session.history, edited(editor, PROMPTS[:3]).history)


def test_undone_turns_outlive_an_edit_that_fails(editor):
    session = edited(editor, PROMPTS[:2])
    session.undo()
    with pytest.raises(ZeroDivisionError):
        session.edit("something else", on_step=lambda step, steps: step / 0)
    assert np.array_equal(session.goto(2), edited(editor, PROMPTS[:2]).image)
