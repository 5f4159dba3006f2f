"""Frozen parameters and first moments in bfloat16: half the bytes, same training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run

DISTILLATIONS = ("consistency", "distribution_matching")


def run_of(stage, dtype="float32", **optimizer):
    options = {}
    if stage in DISTILLATIONS:
        options["teacher_dtype"] = dtype
    return tiny_run(stage, options=options, optimizer=optimizer, sampler=dict(steps=1))


def init(run):
    params = jax.tree.map(jnp.asarray, tiny_params())
    parent = dict(params=params, ema=params, teacher=params)
    return STAGES[run.stage].init_state(run, parent)


def train(run, count=1, seeds=None):
    state, step = init(run), STAGES[run.stage].make_train_step(run)
    losses = []
    for index in range(count):
        state, metrics = step(state, tiny_batch(4, seed=seeds or index))
        losses.append(float(metrics["loss"]))
    return state, losses


def bytes_of(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def dtypes_of(tree):
    return {leaf.dtype.name for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize(
    "stage",
    ["consistency", pytest.param("distribution_matching", marks=pytest.mark.slow)],
)
def test_a_narrow_teacher_takes_half_the_bytes_and_teaches_the_same(stage):
    (wide, expected), (narrow, losses) = (
        train(run_of(stage, dtype)) for dtype in ("float32", "bfloat16")
    )
    assert bytes_of(narrow.teacher) * 2 == bytes_of(wide.teacher)
    assert dtypes_of(narrow.teacher) == {"bfloat16"}
    np.testing.assert_allclose(losses, expected, rtol=2e-2)
    rounded = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), tiny_params())
    jax.tree.map(np.testing.assert_array_equal, narrow.teacher, rounded)
    trained = dict(params=narrow.params, ema=narrow.ema)
    if stage == "distribution_matching":
        trained["critic"] = narrow.critic
    start = jax.tree.map(np.asarray, init(run_of(stage, "bfloat16")))
    for name, tree in trained.items():
        assert dtypes_of(tree) == {"float32"}
        moved = jax.tree.map(lambda a, b: (a != b).any(), tree, getattr(start, name))
        assert np.mean(jax.tree.leaves(moved)) > 0.9, name


def test_narrow_first_moments_train_as_well():
    """On one batch, over again; the second moments stay wide."""
    falls = {}
    for dtype in ("float32", "bfloat16"):
        run = run_of("single_turn", learning_rate=3e-3, mu_dtype=dtype)
        state, losses = train(run, 12, seeds=7)
        moments = {name: state.opt_state[1][0]._asdict()[name] for name in ("mu", "nu")}
        assert dtypes_of(moments["mu"]) == {dtype}
        assert dtypes_of(moments["nu"]) == {"float32"}
        falls[dtype] = losses[0] - min(losses)
    assert falls["float32"] > 0.2
    assert falls["bfloat16"] == pytest.approx(falls["float32"], rel=0.1)


@pytest.mark.parametrize("stage", DISTILLATIONS)
def test_unknown_dtypes_are_refused(stage):
    with pytest.raises(UserError, match="teacher_dtype must be .*given 'float16'"):
        run_of(stage, "float16")
    with pytest.raises(UserError, match="optimizer.mu_dtype must be .*'int8'"):
        run_of(stage, mu_dtype="int8")
