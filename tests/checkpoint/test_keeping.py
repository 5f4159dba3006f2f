"""Which checkpoints stay: the last, those of every m-th step, and the best."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.checkpoint import checkpoints_on_disk, manager, state_bytes
from anchoredit_jax.checkpoint.keeping import measures_of, policy_of
from anchoredit_jax.run_config import LoopConfig

LOOP = LoopConfig(
    keep=1, keep_every=4, keep_best=2, best_by="held_out/ema/loss", checkpoint_every=1
)


def kept(loop, measures, steps):
    """The steps that are there after the last, and the most at once."""
    policy, there, most = policy_of(loop, measures), [], 0
    for step in steps:
        there.append(step)
        most = max(most, len(there))
        flags = policy.should_preserve(
            [SimpleNamespace(step=one) for one in there], context=None
        )
        there = [one for one, stays in zip(there, flags, strict=True) if stays]
    return there, most


def test_last_every_and_best_stay():
    values = [5, 3, 4, 1, 6, 7, 2, 8, 9, 10]
    measures = dict(enumerate(map(float, values), 1))
    there, most = kept(LOOP, measures, range(1, 11))
    assert there == [4, 7, 8, 10]  # the best 4 and 7, every fourth, the last
    assert most <= checkpoints_on_disk(dataclasses.replace(LOOP, steps=10))
    largest = dataclasses.replace(LOOP, best_mode="max", keep_every=None)
    assert kept(largest, measures, range(1, 11))[0] == [9, 10]


def test_a_measure_that_rises_afterwards_and_a_resume_keep_the_best():
    loop = dataclasses.replace(LOOP, keep_every=None, keep_best=1)
    measures = {1: 3.0, 2: 1.0}
    there, _ = kept(loop, measures, range(1, 3))
    assert there == [2]
    again = measures_of(
        [
            {"step": step, "held_out/ema/loss": value}
            for step, value in measures.items()
        ],
        loop,
    )
    again |= {step: float(step) for step in range(3, 9)}
    assert kept(loop, again, [*there, *range(3, 9)])[0] == [2, 8]


def test_steps_without_a_finite_measure_are_not_among_the_best():
    rows = [
        {"step": 1, "held_out/ema/loss": float("nan")},
        {"step": 2, "loss": 0.0},
        {"step": 3, "held_out/ema/loss": 2.0},
    ]
    measures = measures_of(rows, LOOP)
    assert measures == {3: 2.0}
    loop = dataclasses.replace(LOOP, keep_every=None)
    assert kept(loop, measures, range(1, 6))[0] == [3, 5]


def test_orbax_keeps_what_the_policy_says(tmp_path):
    measures = {}
    saver = manager.open_manager(tmp_path, policy_of(LOOP, measures))
    state = State(jnp.int32(0), {"w": jnp.ones(4)})
    for step, value in enumerate([3.0, 1.0, 2.0, 4.0, 5.0], 1):
        measures[step] = value
        manager.save(saver, step, state, {})
    saver.close()
    assert manager.committed_steps(tmp_path) == [2, 3, 4, 5]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    step: jax.Array
    params: dict


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (dict(steps=1000, checkpoint_every=200, keep=2), 3),
        (dict(steps=1000, checkpoint_every=200, keep=None), 5),
        (dict(steps=1100, checkpoint_every=200, keep=None), 6),
        (dict(steps=200, checkpoint_every=200, keep=2), 1),
        (dict(steps=1000, checkpoint_every=100, keep=2, keep_every=500), 5),
        (dict(steps=1000, checkpoint_every=100, keep=2, keep_every=150), 6),
        (
            dict(steps=1000, checkpoint_every=100, keep=2, keep_best=3, best_by="loss"),
            6,
        ),
    ],
)
def test_how_many_lie_on_the_disk_at_once(settings, count):
    assert checkpoints_on_disk(LoopConfig(**settings)) == count


def test_bytes_of_a_state_are_those_of_its_arrays():
    tree = {
        "a": jax.ShapeDtypeStruct((3, 4), jnp.float32),
        "b": np.zeros((5,), jnp.bfloat16),
        "c": jax.ShapeDtypeStruct((), jnp.int32),
    }
    assert state_bytes(tree) == 48 + 10 + 4
