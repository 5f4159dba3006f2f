"""Every stage: a run that was interrupted ends as one that was not, in every bit."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.config import load_config
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.training.curriculum import run_curriculum
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.training.parents import find_parent
from anchoredit_jax.training.state import fresh_state, restore_state
from anchoredit_jax.training.throughput import MEASURES
from anchoredit_jax.trees import leaves_by_name
from tests.training.fake_stages import with_step
from tests.training.real_stages import SCHEDULE as STEPS
from tests.training.real_stages import real_spec

ROOT = Path(__file__).resolve().parents[2]
NAMES = tuple(STAGES)
# Narrow teachers and moments, so that their dtypes come back too.
OPTIONS = {
    "single_turn": "",
    "causal_forcing": ",options.rollout.kind=one_pass,optimizer.mu_dtype=bfloat16",
    "consistency": ",options.teacher_dtype=bfloat16",
    "distribution_matching": ",options.teacher_dtype=bfloat16,options.critic_ratio=2",
}


def spec_of(stage, steps=STEPS):
    return f"{real_spec(stage, steps)},loop.log_every=1{OPTIONS[stage]}"


@pytest.fixture(scope="module")
def one_program_a_stage():
    """Stages whose steps are compiled once for all runs of this file."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            make = functools.lru_cache(STAGES[name].make_train_step)

            def cached(run, make=make):
                short = load_config(spec_of(run.stage)).loop
                return make(run.replace(loop=short))

            patch.setitem(STAGES, name, with_step(STAGES[name], cached))
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory, one_program_a_stage):
    """A workdir in which every stage ran without interruption."""
    workdir = tmp_path_factory.mktemp("straight")
    run_curriculum([load_config(spec_of(name)) for name in NAMES], workdir, quiet=True)
    return workdir


def parent_of(straight, stage):
    place = NAMES.index(stage)
    return straight / NAMES[place - 1] if place else None


def begin(straight, workdir, stage, steps):
    run = load_config(spec_of(stage, steps))
    return run_stage(run, workdir, parent_of(straight, stage), quiet=True)


def check_equal(straight, workdir, stage):
    """The whole state, and every step's loss and norms."""
    run = load_config(spec_of(stage))
    ours, theirs = (
        restore_state(run, folder / stage / "checkpoints" / str(STEPS))
        for folder in (workdir, straight)
    )
    assert int(ours.step) == STEPS
    left, right = leaves_by_name(ours), leaves_by_name(theirs)
    assert left.keys() == right.keys()
    for name, leaf in left.items():
        assert leaf.dtype == right[name].dtype
        np.testing.assert_array_equal(leaf, right[name], err_msg=name)
    ours, theirs = (
        [
            {key: value for key, value in row.items() if key not in MEASURES}
            for row in read_metrics(folder / stage / "metrics.jsonl")
        ]
        for folder in (workdir, straight)
    )
    assert [row["step"] for row in ours] == list(range(1, STEPS + 1))
    assert ours == theirs


@pytest.mark.parametrize(
    ("stage", "cut"),
    [
        ("single_turn", 3),
        ("causal_forcing", 3),
        ("consistency", 3),
        ("distribution_matching", 3),  # then the critic's update alone is due
        ("distribution_matching", 4),  # then the generator's too
    ],
)
def test_three_steps_and_the_rest_equal_a_straight_run(straight, tmp_path, stage, cut):
    """Row 1 of the user reports: parameters, moments, average and counters go on.
    Row 2: in every stage, distribution matching between any two updates."""
    assert begin(straight, tmp_path, stage, cut).step == cut
    resumed = begin(straight, tmp_path, stage, STEPS)
    assert (resumed.resumed, resumed.step) == (cut, STEPS)
    check_equal(straight, tmp_path, stage)


def in_a_new_process(straight, workdir, stage, steps):
    command = [
        *[sys.executable, "launch/train.py", "--quiet", "--workdir", str(workdir)],
        *["--config", spec_of(stage, steps)],
    ]
    if (parent := parent_of(straight, stage)) is not None:
        command += ["--parent", str(parent)]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "stage",
    [
        "single_turn",
        *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:]),
    ],
)
def test_a_new_process_goes_on_in_the_same_bits(straight, tmp_path, stage):
    """Row 1 of the user reports: 3 steps, a save, a new process, 3 steps more."""
    begin(straight, tmp_path, stage, 3)
    in_a_new_process(straight, tmp_path, stage, STEPS)
    check_equal(straight, tmp_path, stage)


def test_a_narrow_teacher_is_handed_on_and_its_critic_is_wide(straight):
    found = {
        (stage, tree): {leaf.dtype.name for leaf in jax.tree.leaves(shapes[tree])}
        for stage in NAMES[2:]
        for shapes in [manager.tree_shapes(straight / stage / "checkpoints/6")]
        for tree in ("params", "ema", "teacher", "critic")
        if tree in shapes
    }
    assert {key for key, dtypes in found.items() if dtypes == {"bfloat16"}} == {
        ("consistency", "teacher"),
        ("distribution_matching", "teacher"),
    }
    assert found["distribution_matching", "critic"] == {"float32"}


@pytest.mark.parametrize("stage", NAMES[1:])
def test_the_average_starts_as_the_weights_that_were_loaded(straight, stage):
    """Row 4 of the user reports: it is made after the weights are, and equals them."""
    run, parent = load_config(spec_of(stage)), parent_of(straight, stage)
    _, trees = find_parent(run, straight, parent)
    state = fresh_state(run, trees)
    loaded = manager.read_item(parent / "checkpoints" / str(STEPS), "ema")
    for tree in (state.ema, state.params):
        jax.tree.map(np.testing.assert_array_equal, tree, loaded)
    assert int(state.step) == 0


def test_the_average_goes_on_from_where_it_was(straight, tmp_path):
    """Row 4 of the user reports: a resumed average is neither reset nor the
    parameters (that it ends bit-equal stands above)."""
    begin(straight, tmp_path, "single_turn", 3)
    run = load_config(spec_of("single_turn"))
    folder = tmp_path / "single_turn" / "checkpoints" / "3"
    state = restore_state(run, folder)
    for name in ("ema", "params"):
        saved = manager.read_item(folder, name)
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), saved)
    apart = jax.tree.map(lambda a, b: bool((a != b).any()), state.ema, state.params)
    assert any(jax.tree.leaves(apart))
