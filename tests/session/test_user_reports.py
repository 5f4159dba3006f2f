"""Rows of the user reports that a session answers for, through its public calls."""

import dataclasses

import jax
import numpy as np
import pytest

from anchoredit_jax.session import EditSession, edit_together, session_file
from anchoredit_jax.testing import record_compilations
from tests.session.editors import PROMPTS, SOURCE, assert_equal_turns, edited

OTHER = 255 - SOURCE
TURNS = tuple(f"make it number {turn}" for turn in range(1, 13))


def shapes(tree):
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def test_row_22_order_and_company_do_not_matter(editor):
    """Row 22 of the user reports: A then B, B then A, in turns, together, and alone,
    with the source's default seeds: every frame has the same bits."""

    def session(source, prompts=PROMPTS[:3]):
        made = editor.start(source)
        for prompt in prompts:
            made.edit(prompt)
        return made

    alone = {source.tobytes(): session(source) for source in (SOURCE, OTHER)}
    for order in ((SOURCE, OTHER), (OTHER, SOURCE)):
        after = [session(source) for source in order]
        in_turns = [editor.start(source) for source in order]
        together = [editor.start(source) for source in order]
        for prompt in PROMPTS[:3]:
            for made in in_turns:
                made.edit(prompt)
            edit_together(together, prompt)
        for way in (after, in_turns, together):
            for source, made in zip(order, way, strict=True):
                expected = alone[source.tobytes()]
                assert_equal_turns(made.history, expected.history)
                assert np.array_equal(made.image, expected.image)


def test_row_26_three_hundred_turns(editor):
    """Row 26 of the user reports: the memory's size is constant, nothing is NaN, and
    nothing is compiled again."""
    session = editor.start(SOURCE)
    session.edit(PROMPTS[0])
    size = shapes(session.history[1].memory)
    with record_compilations() as compiled:
        for number in range(2, 301):
            session.edit(PROMPTS[number % len(PROMPTS)])
    assert compiled == []
    last = session.history[-1]
    assert session.turn == last.number == 300
    assert shapes(last.memory) == size
    assert sorted(last.memory.frames[0].tolist()) == [0, 299, 300]
    for leaf in jax.tree.leaves((last.latent, last.memory)):
        assert np.isfinite(leaf).all()
    latents = jax.device_get([turn.latent for turn in session.history])
    assert len({latent.tobytes() for latent in latents}) == 301


def test_row_27_the_source_is_never_lost_and_old_turns_are(editor, tmp_path):
    """Row 27 of the user reports: with a window of 2, turn 12 depends on the source's
    latent and not on turn 3's."""
    assert editor.memory.window == 2
    edited(editor, TURNS[:11]).save(tmp_path / "session")
    saved = session_file.read(tmp_path / "session")

    def twelfth(changed=None):
        latents = saved.latents.copy()
        if changed is not None:
            latents[changed] += 0.1
        session = EditSession.from_saved(
            editor, dataclasses.replace(saved, latents=latents)
        )
        session.edit(TURNS[11])
        return np.asarray(session.history[12].latent)

    assert not np.array_equal(twelfth(0), twelfth())
    np.testing.assert_array_equal(twelfth(3), twelfth())
    assert not np.array_equal(twelfth(11), twelfth())


@pytest.mark.parametrize("undone", [1, 3, 7])
def test_row_31_undo_is_exact_after_the_window_rolled(editor, undone):
    """Row 31 of the user reports: 8 turns, some undone and then another prompt, equal
    a fresh session with that list of prompts."""
    session = edited(editor, TURNS[:8])
    session.undo(undone)
    session.edit("another way")
    fresh = edited(editor, (*TURNS[: 8 - undone], "another way"))
    assert_equal_turns(session.history, fresh.history)


def test_row_35_only_the_source_is_encoded(editor, tmp_path):
    """Row 35 of the user reports: the codec, which counts, encodes once a session,
    whatever is edited, undone, branched, saved, loaded and edited together."""
    before = editor.codec.encoded
    session = edited(editor)
    assert editor.codec.encoded == before + 1
    session.undo(2)
    branch = session.branch()
    branch.edit("make it red")
    session.save(tmp_path / "a")
    loaded = EditSession.load(tmp_path / "a", editor)
    edit_together([session, branch, loaded], "and more")
    assert editor.codec.encoded == before + 1
