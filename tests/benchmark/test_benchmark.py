"""Benchmarks: what they compare is comparable. How fast it is, no test asserts."""

import os
import runpy
import subprocess
import time
from pathlib import Path

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.models import TransformerConfig
from anchoredit_jax.testing import tiny_run
from benchmarks.attention import benchmark_attention, benchmark_turns
from benchmarks.certificate import benchmark_certificate
from benchmarks.compiling import benchmark_quick_compile, lowered_step
from benchmarks.step import benchmark_products, benchmark_step
from benchmarks.timing import Timing, interleave, pinned
from launch import benchmark

SCRIPT = Path(__file__).parents[2] / "launch" / "benchmark.py"
SMALL = TransformerConfig(
    dim=32, ffn_dim=48, num_heads=2, num_layers=2, text_dim=8, freq_dim=16,
    temporal_stride=1,
)  # fmt: skip


def test_functions_take_turns_after_one_call_each():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleave(functions, repetitions=3)
    assert "".join(calls) == "ab" + "ab" * 3
    assert len(times["a"].seconds) == len(times["b"].seconds) == 3


def test_a_ratio_is_of_neighbours_not_of_means():
    """A slow minute doubles both; what stays is what they have in common."""
    ours, theirs = Timing((1.0, 2.0, 8.0)), Timing((2.0, 4.0, 4.0))
    assert ours.median == 2.0
    assert ours.ratio_to(theirs) == 0.5


def test_the_peer_computes_the_same_gradients():
    pytest.importorskip("diffusers")
    times, difference = benchmark_step("diffusers", 1, SMALL, side=8)
    assert set(times) == {"ours", "diffusers"}
    assert difference < 1e-3
    times, difference = benchmark_step(None, 1, SMALL, side=8)
    assert set(times) == {"ours"} and difference is None


def test_the_bound_is_three_forward_passes_of_products():
    operations, rates = benchmark_products()
    assert 50e9 < operations < 60e9  # 6 layers, 1,024 tokens of width 256
    assert set(rates) == {"ours"} and rates["ours"] > 1e9


def test_a_certificate_is_timed_beside_the_step_that_it_is_of(tmp_path):
    run = tiny_run(
        "single_turn",
        model=dict(num_layers=1, channels=16),
        text=dict(length=16, dim=8),
        data=dict(size=16, turns=1, batch=2),
    )
    cost = benchmark_certificate(tmp_path, 6, run)
    assert min(cost.step, cost.hooks, cost.hashing, cost.keys, cost.arrays) > 0
    assert cost.share == (cost.hooks + cost.hashing + cost.keys) / cost.step
    assert (tmp_path / "single_turn" / "certificate.json").exists()


def test_a_step_is_compiled_and_run_both_ways():
    run = tiny_run(
        "single_turn",
        model=dict(num_layers=1, channels=16),
        text=dict(length=16, dim=8),
        data=dict(size=16, turns=1, batch=2),
    )
    for times, number in zip(
        benchmark_quick_compile(run, repetitions=1, steps=2), (1, 2), strict=True
    ):
        assert set(times) == {"default", "quickly"}
        assert all(len(timing.cpu) == number for timing in times.values())


def test_unknown_peers_are_refused():
    with pytest.raises(UserError, match="unknown peer 'flax'; known: diffusers"):
        benchmark_step("flax", 1, SMALL, side=8)


def test_attention_and_turns_are_timed():
    times = benchmark_attention(4, repetitions=1)
    assert set(times) == {"prefix", "masked", "dense"}
    times = benchmark_turns(early=5, late=7, tokens_side=2, repetitions=1)
    assert set(times) == {"early", "late"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["speed"], "invalid choice: 'speed'"),
        (["step", "--peer", "flax"], "unknown peer 'flax'"),
    ],
)
def test_the_script_refuses_what_it_does_not_know(capsys, flags, said):
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPT))["main"](flags)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_depth_does_not_lengthen_the_program():
    """A program of 40 layers is that of 4 with other numbers in it."""
    few, many = (lowered_step(depth).as_text() for depth in (4, 40))
    assert len(few.splitlines()) == len(many.splitlines())
    assert few != many


def test_cpu_seconds_leave_out_what_others_compute():
    """A function that only waits takes time, and next to no CPU seconds."""
    times = interleave({"waits": lambda: time.sleep(0.05)}, repetitions=2)
    waits = times["waits"]
    assert min(waits.seconds) >= 0.05 > 5 * max(waits.cpu)
    ours, theirs = Timing((1.0,), (0.2,)), Timing((1.0,), (0.1,))
    assert (ours.ratio_to(theirs), ours.cpu_ratio_to(theirs)) == (1.0, 2.0)


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="it is Linux that pins"
)
def test_what_is_timed_has_as_many_cores_as_asked_for():
    before = os.sched_getaffinity(0)
    with pinned(1) as cores:
        assert cores == 1 and len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    with pytest.raises(SystemExit):
        benchmark.main(["session", "--cores", str(len(before) + 1)])


def test_all_runs_every_command_and_keeps_foreign_files(tmp_path, monkeypatch, capsys):
    asked = []

    def run(command, **_):
        asked.append(tuple(command[2:]))
        return subprocess.CompletedProcess(command, 0, "a ratio of 2\nanother\n", "")

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    out = tmp_path / "table.md"
    benchmark.main(["all", "--out", str(out)])
    assert {command[0] for command in asked[:8]} == {*benchmark.COMMANDS} - {"all"}
    page = out.read_text()
    assert "| `attention` | a ratio of 2 |" in page and "- jax: " in page
    assert page.count("\n| `") == 16
    benchmark.main(["all", "--out", str(out)])  # its own may be replaced
    out.write_text("mine")
    with pytest.raises(SystemExit):
        benchmark.main(["all", "--out", str(out)])
    assert out.read_text() == "mine" and "another --out" in capsys.readouterr().err


def test_a_benchmark_that_fails_is_named(monkeypatch, capsys):
    failed = subprocess.CompletedProcess([], 2, "", "Traceback\nerror: no diffusers\n")
    monkeypatch.setattr(benchmark.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit) as caught:
        benchmark.main(["all"])
    assert caught.value.code == 2
    assert "'benchmark.py attention' failed: error: no dif" in capsys.readouterr().err
