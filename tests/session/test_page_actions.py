"""What the page's controls do. Needs Gradio."""

import types

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.session.branches import Branches
from tests.session.editors import edited

actions_of = pytest.importorskip("anchoredit_jax.session.page_actions")
Visitor = actions_of.Visitor
THREE = ("make it blue", "add a hat", "")


@pytest.fixture
def actions(editor, tmp_path):
    return actions_of.Actions(editor, tmp_path)


@pytest.fixture
def visitor(editor):
    return Visitor(Branches(edited(editor, THREE)))


def chosen(data):
    return types.SimpleNamespace(_data=data)


def test_what_a_stranger_sends_is_refused(actions, visitor):
    for action, given in (
        (actions.edit, (visitor, None, 0)),
        (actions.edit, ("foreign", "make it blue", 0)),
        (actions.edit, (visitor, "make it blue", "x")),
        (actions.edit, (visitor, "make it blue", float("inf"))),
        (actions.open_sample, (None, [1])),
        (actions.open_sample, (None, 0, "x")),
        (actions.undo, ([],)),
        (actions.retry, (None,)),
        (actions.switch, (visitor, ["main"])),
        (actions.goto, (visitor, chosen(None))),
        (actions.goto, (visitor, chosen({"index": [1, 2]}))),
        (actions.goto, (visitor, chosen({"index": 99}))),
    ):
        with pytest.raises(UserError, match="must be|is a|has a|no image|no turn"):
            action(*given)
    assert visitor.branches.session.turn == 3
    actions.undo(visitor)  # nothing is locked
    assert visitor.branches.session.turn == 2


def test_steps_are_told_and_first_that_it_compiles(actions, visitor):
    told = []

    def progress(step, desc, unit):
        told.append((*step, desc))

    for _ in range(2):
        actions.edit(visitor, "make it red", 7, progress)
    steps = [(1, 2, "denoising"), (2, 2, "denoising")]
    first = (0, 2, "compiling for 16 x 16, once")
    assert told == [first, *steps, (0, 2, "denoising"), *steps]
    assert visitor.branches.session.history[-1].seed == 7
    actions.repeat(visitor, 1, 1.0, None, 1, 2, progress)
    assert told[6] == (0, 1, "compiling for 16 x 16, once")


def test_one_visitor_does_one_thing_at_a_time_and_others_go_on(actions, visitor):
    other = Visitor(Branches(edited(actions.editor, THREE[:1])))
    seen = []

    def progress(step, desc, unit):
        with pytest.raises(UserError, match="still being made: wait"):
            actions.undo(visitor)
        seen.append(other.branches.session.turn)
        if seen == [1]:
            actions.undo(other)

    actions.edit(visitor, "make it red", 0, progress)
    assert seen == [1, 0, 0]
    assert visitor.branches.session.turn == 4


def test_what_it_says_of_a_mistake_is_no_markup():
    layout = pytest.importorskip("anchoredit_jax.session.page_layout")
    status = layout.gr.HTML()
    with pytest.warns(UserWarning, match="no branch"):  # where there is no page
        told = layout._refusal(UserError("no branch '<b>'"), status)
    assert told == {status: '<p role="alert">no branch &#x27;&lt;b&gt;&#x27;</p>'}


def test_the_plot_tells_edits_and_drift_apart():
    layout = pytest.importorskip("anchoredit_jax.session.page_layout")
    drift = layout.Drift([0.0, 9.0], [0.0, 1.0], 0.25)
    rows = layout._rows(drift)
    assert (
        list(rows["difference"]) == [0, 9, 0, 1]
        and list(rows["turn"]) == ["0", "1"] * 2
    )
    assert set(rows["over"]) == {
        "the whole image, edits included", "drift, over the 25% no turn changed",
    }  # fmt: skip
    assert len(layout._rows(drift._replace(untouched=None))) == 2
