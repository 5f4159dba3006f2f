"""The anchor of stage 3: the ground truth, where the right answer is one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.stages import distill, distribution_matching
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run


def some_batch():
    """Sample 1 has several right answers in every turn."""
    batch = tiny_batch(2, 3)
    batch["answers"][1, 1:, 2] = 1.0
    return batch


def test_errors_are_those_of_the_frame_and_of_its_worst_tokens():
    batch = some_batch()
    x0 = np.random.default_rng(1).normal(size=batch["latents"][:, 0].shape)
    x0 = jnp.float32(x0)
    errors = distill.anchor_errors(x0, batch, jnp.int32(2), patch=2, share=0.25)
    square = np.square(x0 - batch["latents"][:, 2])[0]
    tokens = square.mean(-1).reshape(4, 2, 4, 2).mean((1, 3)).ravel()
    expected = square.mean() + np.sort(tokens)[-4:].mean()
    np.testing.assert_allclose(errors, [expected, 0.0], rtol=1e-5)
    truth = distill.anchor_errors(
        jnp.asarray(batch["latents"][:, 2]), batch, jnp.int32(2), patch=2
    )
    np.testing.assert_array_equal(truth, 0.0)
    batch["frame_valid"][0, 2] = 0.0  # no target
    unknown = distill.anchor_errors(x0, batch, jnp.int32(2), patch=2)
    np.testing.assert_array_equal(unknown, 0.0)


@pytest.mark.parametrize("stage", ["consistency", "distribution_matching"])
def test_both_distillations_add_it(stage):
    params = jax.tree.map(jnp.asarray, tiny_params())
    found = {}
    for weight in (0.0, 2.0):
        run = tiny_run(stage, options=dict(anchor_weight=weight), sampler=dict(steps=1))
        module = STAGES[stage]
        state = module.init_state(run, dict(params=params, ema=params, teacher=params))
        loss = module.loss_fn or distribution_matching.generator_loss
        found[weight] = jax.jit(functools.partial(loss, run))(
            params, state, some_batch()
        )
    added = np.asarray(found[2.0][0] - found[0.0][0])
    assert added[0] > 0.1 and abs(added[1]) < 1e-6
    anchor = float(found[2.0][2]["anchor"])
    np.testing.assert_allclose(added.mean(), 2.0 * anchor, rtol=1e-3)
    assert "anchor" not in found[0.0][2]
