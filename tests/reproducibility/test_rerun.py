"""`reproduce.py check`: a rerun is equal, or what was planted is found and named."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.reproducibility import describe
from anchoredit_jax.reproducibility.distance import distance
from anchoredit_jax.reproducibility.rerun import Steps, check
from anchoredit_jax.trees import leaves_by_name, unflatten
from tests.reproducibility.certified import certify
from tests.training.fake_stages import WIDTH, make_run, replace_step

pytestmark = pytest.mark.usefixtures("fake_stages")


def checked(tmp_path, arg="", stage="fake_first", steps=":", **options):
    found = check(
        make_run(stage, arg), tmp_path / "a" / stage, tmp_path / "check",
        Steps.parse(steps), quiet=True, **options,
    )  # fmt: skip
    return found


def test_a_run_checks_as_equal(tmp_path):
    certify(tmp_path / "a")
    comparison, distances = checked(tmp_path)
    assert comparison.equal and comparison.steps == 10 and not distances
    assert comparison.checkpoints == (4, 8, 10) and not comparison.causes


@pytest.mark.parametrize(
    ("steps", "count", "saved"),
    [("0:6", 6, (4,)), (":4", 4, (4,)), ("4:10", 6, (8, 10))],
)
def test_some_steps_are_checked(tmp_path, steps, count, saved):
    certify(tmp_path / "a")
    comparison, _ = checked(tmp_path, steps=steps)
    assert comparison.equal
    assert (comparison.steps, comparison.checkpoints) == (count, saved)


def test_a_stage_is_checked_from_the_parent_that_it_had(tmp_path):
    certify(tmp_path / "a")
    certify(tmp_path / "a", stage="fake_second")
    comparison, _ = checked(tmp_path, stage="fake_second")
    assert comparison.equal and not comparison.causes
    (tmp_path / "a/fake_first").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="name it with --parent"):
        check(make_run("fake_second"), tmp_path / "a/fake_second", tmp_path / "again")
    comparison, _ = check(
        make_run("fake_second"),
        tmp_path / "a/fake_second",
        tmp_path / "again",
        parent=tmp_path / "moved",
        quiet=True,
    )
    assert comparison.equal and not comparison.causes


def one_ulp(value):
    return np.nextafter(value, np.float32(np.inf))


def plant(stages, name, at, path, change=one_ulp):
    """One element of a parameter is changed after step `at` of a run from 0."""
    make_train_step = stages[name].make_train_step

    def make(run):
        step, calls = make_train_step(run), []

        def call(state, batch):
            state, metrics = step(state, batch)
            calls.append(1)
            if len(calls) == at:
                leaves = leaves_by_name(state.params)
                values = np.array(jax.device_get(leaves[path]))
                place = np.unravel_index(values.size // 2, values.shape)
                values[place] = change(values[place])
                leaves[path] = jax.device_put(values, leaves[path].sharding)
                state = state.replace(params=unflatten(leaves))
            return state, metrics

        return call

    replace_step(stages, name, make)


def test_one_ulp_in_one_parameter_is_named(tmp_path, fake_stages):
    """The array, the checkpoint, and how far it is off."""
    arg = "loop.checkpoint_every=6"
    certify(tmp_path / "a", arg)
    plant(fake_stages, "fake_first", 6, "w")
    comparison, distances = checked(tmp_path, arg)
    (difference,) = comparison.first
    assert (difference.step, difference.kind) == (6, "parameters")
    assert difference.name == "params/w"
    told = distances["params/w"]
    assert told.startswith(f"1 of {WIDTH**2} elements") and told.endswith(" 1 ulp")
    text = "\n".join(describe(comparison, distances))
    assert "differs first at step 6: parameters (params/w)" in text and told in text


def test_what_changed_between_checkpoints_shows_in_the_loss(tmp_path, fake_stages):
    certify(tmp_path / "a")
    plant(fake_stages, "fake_first", 5, "w", lambda value: value + np.float32(0.1))
    comparison, _ = checked(tmp_path)
    assert comparison.first[0].step == 6 and comparison.first[0].kind == "loss"
    said = "data and draws are equal: the parameters before this step"
    assert said in "\n".join(describe(comparison))


def test_one_ulp_that_no_loss_shows_is_seen_at_the_next_checkpoint(
    tmp_path, fake_stages
):
    """A mean rounds it away; the arrays keep it."""
    certify(tmp_path / "a")
    plant(fake_stages, "fake_first", 5, "w")
    comparison, _ = checked(tmp_path)
    assert 6 <= comparison.first[0].step <= 8


def test_another_seed_is_told_as_the_cause(tmp_path):
    """Row 22 of the user reports, through the command."""
    certify(tmp_path / "a")
    run = dataclasses.replace(make_run("fake_first"), seed=4)
    comparison, _ = check(
        run, tmp_path / "a/fake_first", tmp_path / "check", quiet=True
    )
    assert (comparison.first[0].step, comparison.first[0].kind) == (1, "draws")
    lines = describe(comparison)
    assert lines[0] == "config: seed: 3 | 4"
    assert lines[1].startswith("differs first at step 1: draws")


def test_wrong_input_is_refused(tmp_path):
    certify(tmp_path / "a", "loop.keep=1")
    for options, said in (
        (dict(stage="fake_second"), "no certificate"),
        (dict(steps="3"), "must be FIRST:LAST"),
        (dict(steps="5:5"), "LAST must be more than FIRST"),
        (dict(steps="10:"), "has no steps after 10"),
        (dict(steps="4:8"), r"not in .* \(there: 10\)"),
    ):
        with pytest.raises(UserError, match=said):
            checked(tmp_path, **options)
        assert not (tmp_path / "check").exists()
    with pytest.raises(UserError, match="add stage=fake_first to --config"):
        check(make_run("fake_second"), tmp_path / "a/fake_first", tmp_path / "check")
    with pytest.raises(UserError, match="holds a run already"):
        check(make_run("fake_first"), tmp_path / "a/fake_first", tmp_path / "a")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_distances_count_the_numbers_between(dtype):
    left = np.asarray(jnp.asarray([1.0, -1.0, 0.0, 2.0], dtype))
    right = left.copy()
    bits = right.view("uint16" if dtype == "bfloat16" else "uint32")
    bits[0] += 3
    bits[1] -= 1
    bits[2] = 1 << (8 * bits.itemsize - 1)  # -0.0: another zero
    found = distance(left, right)
    assert (found.elements, found.size, found.ulps) == (2, 4, 3)
    step = 2.0**-7 if dtype == "bfloat16" else 2.0**-23
    assert found.absolute == 3 * step


def test_distances_of_integers_are_plain():
    found = distance(np.int32([1, 5]), np.int32([1, 9]))
    assert (found.elements, found.ulps, found.absolute) == (1, 4, 4.0)
