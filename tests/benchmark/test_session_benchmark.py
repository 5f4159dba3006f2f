"""The benchmark of sessions: what it counts. How fast they are, no test asserts."""

import runpy
from pathlib import Path

import pytest

from benchmarks.session import benchmark_session
from tests.session.conftest import editor, params  # noqa: F401

SCRIPT = Path(__file__).parents[2] / "launch" / "benchmark.py"


@pytest.fixture(scope="module")
def cost(editor):  # noqa: F811
    return benchmark_session(editor, turns=(2, 5, 60), branches=20, repetitions=1)


def test_turns_are_timed_and_nothing_is_compiled_after_the_first(cost):
    assert list(cost.times) == [2, 5, 60]
    assert all(len(timing.seconds) == 1 for timing in cost.times.values())
    assert cost.compiled == ()


def test_a_turn_keeps_one_frame_on_the_device(cost):
    counters = 64  # which frame a slot holds, how many there were
    assert cost.frame <= cost.per_turn <= cost.frame + counters


def test_branches_keep_their_new_frames_only(cost):
    assert cost.branches == 20
    new = cost.branches * cost.frame
    assert cost.session + new <= cost.branched < 1.2 * cost.session + new


def test_the_script_prints_the_ratios(monkeypatch, capsys, cost):
    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.setattr("benchmarks.session.benchmark_session", lambda **_: cost)
    main(["session"])
    said = capsys.readouterr().out
    assert "turn 60 of an editing session: " in said and " of turn 2\n" in said
    assert "programs compiled after the first turn: 0" in said
    assert "20 branches of a turn each" in said
