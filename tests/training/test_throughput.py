"""What a row of metrics says of speed, of operations and of memory."""

import types

import jax
import jax.numpy as jnp
import pytest

from anchoredit_jax.testing import record_compilations, tiny_run
from anchoredit_jax.training import throughput
from anchoredit_jax.training.throughput import MEASURES, Throughput
from anchoredit_jax.training.work import step_flops


@pytest.fixture
def clock(monkeypatch):
    """Time that a test moves by hand."""
    now = [100.0]
    monkeypatch.setattr(throughput.time, "monotonic", lambda: now[0])
    return now


def latents(rows=2, frames=3, side=8):
    return jax.ShapeDtypeStruct((rows, frames, side, side, 4), jnp.float32)


def test_operations_a_second_are_those_of_the_shapes_that_came(clock):
    run = tiny_run("single_turn")
    speed = Throughput(run, devices=4)
    speed.count(latents(), 0.0)
    assert speed.row() == {}  # compiling: not measured
    speed.begin()
    for shape, waited in ((latents(), 0.5), (latents(frames=5, side=12), 1.5)):
        speed.count(shape, waited)
    clock[0] += 8.0
    row = speed.row(steps_left=10)
    operations = (
        step_flops(run, 3, 16, 2).total + step_flops(run, 5, 36, 2).total
    )  # rows, frames and tokens of the two batches
    assert row == {
        "step_seconds": 4.0,
        "steps_per_second": 0.25,
        "seconds_left": 40.0,
        "samples_per_second": 0.5,
        "tokens_per_second": (2 * 3 * 16 + 2 * 5 * 36) / 8.0,
        "data_wait": 0.25,
        "tflops": pytest.approx(operations / 8.0 / 4 / 1e12),
    }
    assert speed.row() == {}  # no step since
    speed.count(latents(), 0.0)
    clock[0] += 2.0
    assert speed.row()["step_seconds"] == 2.0


def test_a_known_chip_adds_its_share_of_the_peak_and_its_memory(clock, monkeypatch):
    chip = types.SimpleNamespace(
        device_kind="TPU v5p", memory_stats=lambda: {"peak_bytes_in_use": 3 * 2**29}
    )
    monkeypatch.setattr(throughput.jax, "local_devices", lambda: [chip])
    speed = Throughput(tiny_run("single_turn"), devices=1)
    speed.begin()
    speed.count(latents(), 0.0)
    clock[0] += 1e-6
    row = speed.row()
    assert row["mfu"] == pytest.approx(row["tflops"] / 459)
    assert row["device_memory_gib"] == 1.5
    assert set(row) == set(MEASURES)


def test_counting_runs_nothing_on_the_devices(clock):
    speed = Throughput(tiny_run("consistency"), devices=1)
    speed.begin()
    with record_compilations() as compiled, jax.transfer_guard("disallow"):
        speed.count(latents(), 0.0)
        clock[0] += 1.0
        speed.row()
    assert compiled == []
