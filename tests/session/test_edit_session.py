"""Sessions: going back is exact, branches share, one compilation."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.session import load_editor
from anchoredit_jax.session.contact_sheet import to_sheet_size
from anchoredit_jax.testing import record_compilations
from tests.session.editors import (
    PROMPTS,
    SOURCE,
    assert_equal_turns,
    edited,
    make_editor,
    make_run,
)


def test_editing_gives_images_of_the_source_crop(editor):
    session = editor.start(SOURCE)
    image = session.edit("make it blue")
    assert isinstance(image, Image.Image) and image.size == (16, 16)
    assert session.crop.box == (0, 2, 16, 18)
    assert np.array_equal(session.history[0].image, SOURCE[2:18])
    assert np.array_equal(session.image, image) and session.turn == 1
    large = editor.start(SOURCE.repeat(5, 0).repeat(5, 1))
    assert large.edit("make it blue").size == (80, 80)
    assert large.history[1].model_image.size == (16, 16)


def test_a_file_can_be_edited(editor, tmp_path):
    Image.fromarray(SOURCE).save(tmp_path / "a.png")
    a, b = editor.start(tmp_path / "a.png"), editor.start(SOURCE)
    assert np.array_equal(a.edit("make it blue"), b.edit("make it blue"))
    with pytest.raises(UserError, match="b.png' does not exist"):
        editor.start(tmp_path / "b.png")


def test_instruction_and_seed_matter(editor):
    plain = edited(editor)
    assert not np.array_equal(plain.image, edited(editor, ("x",) + PROMPTS[1:]).image)
    assert not np.array_equal(plain.image, edited(editor, seed=1).image)
    own = editor.start(SOURCE)
    own.edit(PROMPTS[0], seed=5)
    assert not np.array_equal(own.image, plain.history[1].image)
    assert [turn.seed for turn in own.history] == [None, 5]


def test_the_memory_matters_and_the_source_stays_in_it(editor):
    other = editor.start(255 - SOURCE)
    for prompt in PROMPTS:
        other.edit(prompt)
    # The window rolled long ago; only the sink still tells the sources apart.
    assert not np.array_equal(other.image, edited(editor).image)
    assert 0 in np.asarray(other.history[-1].memory.frames)


def test_undo_to_the_source_takes_another_first_instruction(editor):
    session = edited(editor)
    assert np.array_equal(session.undo(len(PROMPTS)), SOURCE[2:18])
    session.edit("make it green")
    assert_equal_turns(session.history, edited(editor, ("make it green",)).history)


def test_goto_moves_both_ways_until_the_next_edit(editor):
    session = edited(editor)
    last = session.image
    first = session.goto(1)
    assert np.array_equal(first, session.history[1].image)
    assert session.turn == 1 and len(session.history) == 2
    assert np.array_equal(session.goto(len(PROMPTS)), last)
    session.goto(1)
    session.edit("another way")
    with pytest.raises(UserError, match="no turn 3.*0 .the source. to 2"):
        session.goto(3)


@pytest.mark.parametrize("turns", [0, -1, 7])
def test_undo_of_turns_that_are_not_there_is_refused(editor, turns):
    session = edited(editor)
    with pytest.raises(UserError, match=f"cannot undo {turns} turns: 6 turns"):
        session.undo(turns)
    with pytest.raises(UserError, match="no turn -1"):
        session.goto(-1)
    assert session.turn == 6


def test_branches_are_independent_and_share_buffers(editor):
    trunk = edited(editor, PROMPTS[:3])
    branch = trunk.branch()
    assert all(a is b for a, b in zip(trunk.history, branch.history, strict=True))
    branch.edit("make it red")
    assert len(trunk.history) == 4 and len(branch.history) == 5
    trunk.edit(PROMPTS[3])
    assert_equal_turns(trunk.history, edited(editor, PROMPTS[:4]).history)
    expected = edited(editor, (*PROMPTS[:3], "make it red"))
    assert_equal_turns(branch.history, expected.history)


def test_a_branch_of_an_earlier_turn_has_no_later_ones(editor):
    session = edited(editor, PROMPTS[:3])
    session.undo()
    branch = session.branch()
    with pytest.raises(UserError, match="no turn 3"):
        branch.goto(3)


def test_nothing_is_compiled_after_the_first_turn(editor):
    session = editor.start(SOURCE)
    session.edit(PROMPTS[0])
    with record_compilations() as compiled:
        for number in range(2, 65):
            session.edit(f"turn {number}", seed=number)
            if number % 8 == 0:
                session.branch().edit("to the left")
                session.undo(number // 2)
                session.goto(number)
        session.undo(64)
        session.edit("from the source again")
        editor.start(255 - SOURCE, seed=8).edit("another image")
    assert compiled == []
    assert [program._cache_size() for program in editor.programs] == [1] * 4


def test_the_memory_does_not_grow(editor):
    session = edited(editor)
    shapes = {str(jax.tree.map(jnp.shape, turn.memory)) for turn in session.history[1:]}
    assert len(shapes) == 1


def test_a_full_history_is_full_at_max_turns(params, full_editor):
    session = edited(full_editor)
    with pytest.raises(UserError, match="at most 6 turns"):
        session.edit("one more")
    session.undo()
    session.edit("instead")
    with pytest.raises(UserError, match="give load_editor max_turns"):
        make_editor(params, memory=MemoryConfig(window=None)).start(SOURCE)


def test_full_history_and_window_agree_until_the_window_rolls(editor, full_editor):
    a, b = edited(editor), edited(full_editor)
    for turn in range(1, 3):
        np.testing.assert_allclose(
            a.history[turn].latent, b.history[turn].latent, atol=1e-3
        )
    assert not np.allclose(a.history[-1].latent, b.history[-1].latent, atol=1e-2)


@pytest.mark.parametrize("instruction", [None, 3, b"blue"])
def test_a_missing_instruction_is_an_error_and_changes_nothing(editor, instruction):
    session = edited(editor, PROMPTS[:2])
    with pytest.raises(UserError, match="an instruction must be text"):
        session.edit(instruction)
    with pytest.raises(UserError, match="7 words.*at most 6"):
        session.edit("one two three four five six seven")
    assert session.turn == 2


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True, "x"])
def test_seeds_out_of_range_are_refused(editor, seed):
    with pytest.raises(UserError, match="a seed must be"):
        editor.start(SOURCE, seed=seed)
    with pytest.raises(UserError, match="a seed must be"):
        editor.start(SOURCE).edit("make it blue", seed=seed)


def test_settings_can_be_replaced(editor, full_editor):
    assert editor.with_settings() is editor
    assert editor.with_settings(memory=MemoryConfig(1, 2), max_turns=9) is editor
    more = editor.with_settings(sampler=SamplerConfig(steps=3))
    assert more.sampler.steps == 3 and more.memory == editor.memory
    assert more.params is editor.params and more.programs is not editor.programs
    assert full_editor.memory.window is None and full_editor.max_turns == 6
    assert full_editor.with_settings(MemoryConfig(1, 2)).max_turns is None


def test_settings_that_repeat_are_compiled_once(editor):
    """Whoever asks for them, in whatever order."""
    other = dict(sampler=SamplerConfig(steps=1), memory=MemoryConfig(1, 1))
    first = editor.with_settings(**other).start(SOURCE)
    first.edit(PROMPTS[0])
    with record_compilations() as compiled:
        again = editor.with_settings(**other).start(SOURCE)
        again.edit(PROMPTS[0])
        back = again.editor.with_settings(editor.memory, editor.sampler).start(SOURCE)
        back.edit(PROMPTS[0])
    assert compiled == []
    assert again.editor.programs is first.editor.programs
    assert back.editor.programs is editor.programs
    assert_equal_turns(again.history, first.history)
    assert_equal_turns(back.history, edited(editor, PROMPTS[:1]).history)


def test_what_a_user_holds_cannot_change_the_history(editor):
    given = np.ascontiguousarray(SOURCE[2:18])  # of the model's size: nothing to resize
    kept = given.copy()
    session = editor.start(given)
    session.edit(PROMPTS[0])
    result = session.history[1].pixels.copy()
    given[:] = 0
    for turn in session.history:
        with pytest.raises(ValueError, match="read-only"):
            turn.pixels[0, 0] = 1
        turn.image.putpixel((0, 0), (1, 2, 3))
        turn.model_image.putpixel((0, 0), (1, 2, 3))
        with pytest.raises(dataclasses.FrozenInstanceError):
            turn.seed = 3
    assert np.array_equal(session.history[0].pixels, kept)
    assert np.array_equal(session.history[1].pixels, result)


def test_parts_that_do_not_fit_are_refused(params):
    with pytest.raises(UserError, match="latent channels: 7 .* 16"):
        make_editor(params, codec=PatchCodec(1))
    with pytest.raises(UserError, match="text embedding width: 4 .* 8"):
        make_editor(params, text=NgramTextEncoder(6, 4))
    with pytest.raises(UserError, match="size 18 .*multiple of 4 .*nearest is 16"):
        make_editor(params, run=make_run(size=18))


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        load_editor(tmp_path / "nowhere")


def test_what_a_notebook_shows(editor):
    session = edited(editor, PROMPTS[:2], seed=3)
    session.undo()
    assert repr(editor).startswith("<Editor of the shipped weights (consistency): ")
    assert repr(editor).endswith(
        " parameters, 16 pixels, sink 1 + window 2, 2 steps a turn>"
    )
    assert repr(session) == "<EditSession at turn 1 of 2: 16 x 16, seed 3>"
    source, first = session.history
    assert repr(source) == "<Turn 'source': 16 x 16>"
    assert repr(first) == "<Turn '1. make it blue': 16 x 16, seed 3>"
    sheets = [Image.open(io.BytesIO(shown._repr_png_())) for shown in (session, first)]
    assert [sheet.format for sheet in sheets] == ["PNG", "PNG"]
    two, one = (np.asarray(sheet) for sheet in sheets)
    # The frame is in it, enlarged; and once more on the session's sheet.
    frame = to_sheet_size(first.pixels)
    height, width = frame.shape[:2]
    np.testing.assert_array_equal(one[14 : 14 + height, 14 : 14 + width], frame)
    left = 14 + width + 14
    np.testing.assert_array_equal(two[14 : 14 + height, left : left + width], frame)
