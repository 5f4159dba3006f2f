"""One size for all, interrupted stages told, and no memory computed twice."""

import dataclasses
import functools
import types

import pytest

from anchoredit_jax.checkpoint import Lineage
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation import PARTS, Part, Settings, evaluate, parse_policies
from anchoredit_jax.evaluation import runs as runs_module
from anchoredit_jax.evaluation.fairness import identical_notes, unfinished_notes
from anchoredit_jax.evaluation.judge import Judgement, Usage
from anchoredit_jax.evaluation.parts.sessions import compare_runs, session_cases
from anchoredit_jax.evaluation.runs import (
    Job,
    PolicyRun,
    held_frames,
    run_policies,
)
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.session.shapes import editing_size
from tests.evaluation.test_report import SMALL, make_contestant

# Of every turn from the source on: which frames are held when it is drawn.
HELD = {
    (1, None, 3): ((), (0,), (0, 1), (0, 1, 2)),
    (1, 2, 3): ((), (0,), (0, 1), (0, 1, 2)),
    (1, 1, 3): ((), (0,), (0, 1), (0, 2)),
    (0, 2, 3): ((), (0,), (0, 1), (1, 2)),
    (2, 0, 3): ((), (0,), (0, 1), (0, 1)),
}


@pytest.mark.parametrize("memory", HELD)
def test_frames_that_a_memory_holds(memory):
    sink, window, turns = memory
    assert held_frames(MemoryConfig(sink, window), turns) == HELD[memory]


@pytest.fixture
def asked(monkeypatch):
    """The names of the policies that are run; nothing is edited."""
    names = []

    def measure(job, cases, store, name):
        nothing = Judgement({}, 1, 0, 0, Usage(1, 1), Usage(1, 1))
        return PolicyRun(cases, store, {}, judgement=nothing)

    monkeypatch.setattr(
        runs_module, "run_cases", lambda job, cases, name, *_: names.append(name)
    )
    monkeypatch.setattr(runs_module, "measure_cases", measure)
    return names


@pytest.mark.parametrize(
    ("turns", "run"),
    [
        (3, ["full", "window2"]),
        (4, ["full", "sink1_window2", "window2"]),
        (1, ["full"]),
    ],
)
def test_a_memory_that_holds_the_same_is_not_run(tiny_editor, asked, turns, run):
    policies = parse_policies("full,sink1_window2,window2")
    contestant = make_contestant(tiny_editor, "toy")
    job = Job(contestant, Settings(policies, **SMALL), "table", None)
    found = run_policies(job, [types.SimpleNamespace(instructions=("x",) * turns)])
    assert list(found) == list(policies) and asked == run
    shared = {name: own.same_as for name, own in found.items() if own.same_as}
    assert shared == {name: "full" for name in policies if name not in run}
    # The judge is paid once, and nothing is compared with itself.
    assert [name for name, own in found.items() if own.judgement] == run
    compared = [entry["second"]["policy"] for entry in compare_runs({"toy": found})]
    assert compared == run[1:]


def test_memories_that_are_the_same_are_told_once():
    same = {"sink1_window3": "full"}
    (note,) = identical_notes({"table": same, "identity": same})
    assert note.startswith("sink 1 + window 3 and full history hold the same frames")


def sized(editor, label, size, stride=2):
    """A contestant that was trained at squares of another size."""
    contestant = make_contestant(editor, label)
    run = types.SimpleNamespace(**vars(contestant.editor.run))
    run.data = types.SimpleNamespace(**{**vars(run.data), "size": size})
    run.codec = types.SimpleNamespace(stride=stride)
    other = {**vars(contestant.editor), "run": run, "side": size}
    other["size_of"] = functools.partial(editing_size, run)
    return dataclasses.replace(contestant, editor=types.SimpleNamespace(**other))


@pytest.fixture
def seen(monkeypatch):
    """(checkpoint, sizes) that a part is run with."""
    found = []

    def run(job, cases):
        shapes = {case.source.shape[:2] for case in cases}
        found.append((job.contestant.label, shapes))

    part = Part(
        name="looks",
        title="Looks",
        cases=lambda settings, editor: session_cases(settings, editor, 2),
        run=run,
        numbers=lambda result: {},
        blocks=lambda table, label: [],
    )
    monkeypatch.setitem(PARTS, part.name, part)
    return found


def test_models_of_two_sizes_edit_at_one_which_is_told(
    tmp_path, tiny_editor, seen, caplog
):
    settings = Settings(parse_policies("full"), parts=("looks",), **SMALL)
    both = [sized(tiny_editor, "small", 16), sized(tiny_editor, "large", 32)]
    report = evaluate(both, settings, tmp_path)
    assert seen == [("small", {(16, 16)}), ("large", {(16, 16)})]
    (note,) = report["notes"]
    assert "All models edit at the size of small, 16 x 16 pixels" in note
    assert "large alone would have edited at 32 x 32" in note
    assert note in caplog.text  # before anything is edited
    assert note in (tmp_path / "report.html").read_text()
    assert evaluate(both[:1], settings, tmp_path)["notes"] == []


def test_a_size_that_one_cannot_edit_at(tmp_path, tiny_editor, seen):
    settings = Settings(parse_policies("full"), parts=("looks",), **SMALL)
    both = [sized(tiny_editor, "a", 16), sized(tiny_editor, "b", 24, stride=12)]
    with pytest.raises(UserError, match="b cannot edit at the size of a.*--size"):
        evaluate(both, settings, tmp_path)
    assert seen == []


@pytest.mark.parametrize(("step", "told"), [(2, True), (120, False), (0, False)])
def test_a_stage_that_was_interrupted_is_told(tiny_editor, step, told):
    parent = Lineage("single_turn", 500, "ab", {})
    contestant = make_contestant(tiny_editor, "mine")
    contestant.editor.lineage = Lineage("causal_forcing", step, "cd", {}, parent)
    contestant.editor.run.loop = types.SimpleNamespace(steps=120)
    notes = unfinished_notes([contestant, make_contestant(tiny_editor, "other")])
    assert bool(notes) == told
    if told:
        assert notes[0].startswith("mine is step 2 of 120 of the stage causal_forcing")
        assert "it started from single_turn" in notes[0]
