"""The denoising loss of a sequence: which frames the extra terms look at."""

import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.stages.sequence import SequenceLossConfig, sequence_loss


def loss_of(one_answer=None, **config):
    """Of a network that always answers 0, on two samples of two edits each."""
    rng = np.random.default_rng(0)
    latents = jnp.asarray(rng.normal(size=(2, 3, 4, 4, 2)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=latents.shape), jnp.float32)
    errors, kept, metrics, _ = sequence_loss(
        lambda x, timesteps: jnp.zeros_like(x),
        latents,
        latents,
        jnp.full((2, 3), 500.0),
        noise,
        jnp.ones((2, 3)),
        SequenceLossConfig(**config),
        2,
        one_answer=one_answer,
    )
    return np.asarray(errors), np.asarray(kept), metrics


@pytest.mark.parametrize("term", ["edit_weight", "hard_weight"])
def test_the_extra_terms_leave_out_frames_with_several_right_answers(term):
    plain, _, _ = loss_of()
    everywhere, _, metrics = loss_of(**{term: 1.0})
    assert (everywhere > plain).all()
    one_answer = jnp.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    some, kept, some_metrics = loss_of(one_answer, **{term: 1.0})
    np.testing.assert_allclose(some[0], everywhere[0])
    np.testing.assert_allclose(some[1], plain[1])  # the plain term sees every frame
    np.testing.assert_array_equal(kept, 1.0)
    name = term.removesuffix("_weight")
    assert some_metrics[name] != metrics[name]
    nowhere, _, none_metrics = loss_of(jnp.zeros((2, 3)), **{term: 1.0})
    np.testing.assert_allclose(nowhere, plain)
    assert none_metrics[name] == 0.0
