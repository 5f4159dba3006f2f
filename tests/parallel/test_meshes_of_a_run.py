"""A run on a mesh: stopped there, it goes on anywhere."""

import jax
import numpy as np
import pytest

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import make_mesh, state_shardings
from anchoredit_jax.testing import tiny_run
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.state import restore_state
from anchoredit_jax.trees import leaves_by_name

MODEL = dict(channels=16)  # of the patch codec


def a_run(steps, **mesh):
    return tiny_run(
        "single_turn",
        model=MODEL,
        text=dict(length=16, dim=8),
        data=dict(size=16, batch=8, sprites=dict(weights=dict(background=1.0))),
        loop=dict(steps=steps, log_every=1, checkpoint_every=2),
        mesh=mesh,
    )


def params_of(run, result, mesh=None):
    return leaves_by_name(restore_state(run, result.checkpoint, mesh).params)


def test_it_goes_on_on_another_mesh(tmp_path):
    """Row 8 and 9 of the user reports: saved on 2 x 4, restored on 1, 2 and 4 x 2."""
    alone = run_stage(a_run(4), tmp_path / "alone", quiet=True)
    first = run_stage(a_run(2, data=2, fsdp=4), tmp_path / "moved", quiet=True)
    step_dir = first.checkpoint
    shapes = manager.tree_shapes(step_dir)["params"]
    assert leaves_by_name(shapes).keys() == params_of(a_run(2), first).keys()
    saved = params_of(a_run(2), first)
    for mesh in (dict(), dict(data=2), dict(data=4, fsdp=2), dict(fsdp=2, tensor=2)):
        run = a_run(2, **mesh)
        there = make_mesh(run.mesh)
        state = restore_state(run, step_dir, there)
        wanted = leaves_by_name(state_shardings(state, there))
        for path, leaf in leaves_by_name(state).items():
            if there.size > 1:
                assert leaf.sharding.is_equivalent_to(wanted[path], leaf.ndim), path
        for path, leaf in leaves_by_name(state.params).items():
            np.testing.assert_array_equal(leaf, saved[path])
    moved = run_stage(a_run(4, fsdp=2, tensor=2), tmp_path / "moved", quiet=True)
    assert (moved.resumed, moved.step) == (2, 4)
    ours, theirs = (params_of(a_run(4), result) for result in (moved, alone))
    for path, leaf in ours.items():
        # Where a gradient is rounding only, Adam makes whole steps of it.
        scale = max(np.linalg.norm(theirs[path]), 0.1)
        assert np.linalg.norm(leaf - theirs[path]) < 1e-5 * scale, path


def test_batches_that_do_not_split_are_refused(tmp_path):
    with pytest.raises(UserError, match="8 samples of a .* over .* = 3 groups"):
        run_stage(a_run(2, fsdp=3), tmp_path, quiet=True)
    with pytest.raises(UserError, match="does not fit 8 devices"):
        run_stage(a_run(2, fsdp=16), tmp_path, quiet=True)
    assert not (tmp_path / "single_turn").exists()
    assert len(jax.devices()) == 8
