"""Every stage, at toy size: interrupted and gone on with in a new process, a run ends
in the same bits and with the same certificate. Rows 1, 2, 22 and 53 of the user
reports."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.config import load_config
from anchoredit_jax.reproducibility import compare, describe, read
from anchoredit_jax.reproducibility.distance import checkpoint_distances
from anchoredit_jax.reproducibility.rerun import run_certified
from anchoredit_jax.stages.table import STAGES
from tests.training.fake_stages import with_step

ROOT = Path(__file__).resolve().parents[2]
STEPS, CUT = 12, 5
PARENTS = {
    "causal_forcing": "single_turn",
    "consistency": "causal_forcing",
    "distribution_matching": "consistency",
}
CASES = {
    "single_turn": "stage=single_turn",
    "one_pass": "stage=causal_forcing",
    "sequential": "stage=causal_forcing,rollout=sequential",
    "consistency": "stage=consistency",
    "distribution_matching": "stage=distribution_matching",  # due at 1, 6 and 11
}


def spec_of(arguments, steps=STEPS):
    return f"configs/reproduce.py:{arguments},steps={steps},model.num_layers=1"


@pytest.fixture(scope="module")
def one_program_a_stage():
    """Stages whose steps are compiled once for all runs of this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in STAGES:
            make = functools.lru_cache(STAGES[name].make_train_step)

            def cached(run, make=make):
                same = load_config(spec_of("stage=single_turn")).loop
                return make(run.replace(loop=same))

            patch.setitem(STAGES, name, with_step(STAGES[name], cached))
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory, one_program_a_stage):
    """case -> folder of its run without interruption, made when first asked for."""
    root = tmp_path_factory.mktemp("straight")

    @functools.cache
    def made(case):
        run = load_config(spec_of(CASES[case]))
        parent = parent_of(made, case)
        run_certified(run, root / case, parent, quiet=True)
        return root / case / run.stage

    return made


def parent_of(straight, case):
    stage = load_config(spec_of(CASES[case])).stage
    parent = PARENTS.get(stage)
    return parent and straight("one_pass" if parent == "causal_forcing" else parent)


@pytest.mark.parametrize(
    "case",
    ["single_turn", *(pytest.param(c, marks=pytest.mark.long) for c in [*CASES][1:])],
)
def test_five_steps_and_seven_in_a_new_process_equal_twelve(straight, tmp_path, case):
    parent = parent_of(straight, case)
    first = load_config(spec_of(CASES[case], CUT))
    run_certified(first, tmp_path, parent, quiet=True)
    command = [
        *[sys.executable, "launch/reproduce.py", "run", "--quiet"],
        *["--config", spec_of(CASES[case]), "--workdir", str(tmp_path)],
        *(["--parent", str(parent)] if parent else []),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = read(tmp_path / first.stage), read(straight(case))
    comparison = compare(ours, theirs)
    assert comparison.equal, "\n".join(describe(comparison))
    assert [row.step for row in ours.rows] == list(range(1, STEPS + 1))
    assert ours.rows == theirs.rows
    assert ours.checkpoints[STEPS] == theirs.checkpoints[STEPS]
    assert ours.segments == theirs.segments and not comparison.causes
    check_arrays(tmp_path / first.stage, straight(case), ours.checkpoints[STEPS])


def check_arrays(left, right, names):
    """The digests say that all arrays are equal; the arrays do too."""
    folders = [folder / "checkpoints" / str(STEPS) for folder in (left, right)]
    saved = manager.tree_shapes(folders[0])
    apart = checkpoint_distances(*folders, names)
    assert apart.keys() == set(names) and len(saved) > 3
    assert all(d.elements == 0 and d.ulps == 0 for d in apart.values())


@pytest.mark.long
def test_both_kinds_of_rollout_and_both_optimizers_were_at_work(straight):
    """What the equalities above are about did happen."""
    rows = {case: read(straight(case)).rows for case in CASES}
    for case in ("one_pass", "sequential"):
        replaced = {row.metrics["replaced"] for row in rows[case]}
        assert len(replaced - {"00000000"}) >= 1
    due = [
        row.step
        for row in rows["distribution_matching"]
        if row.metrics["generator_loss"] != "7fc00000"
    ]
    assert due == [1, 6, 11]
    names = read(straight("distribution_matching")).checkpoints[STEPS]
    trees = {name.partition("/")[0] for name in names}
    assert trees == {
        "step", "params", "opt_state", "ema", "teacher", "critic", "critic_opt_state",
    }  # fmt: skip
