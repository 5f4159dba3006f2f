"""The denoising loss of a sequence: which frames the extra terms look at."""

import jax.numpy as jnp
import numpy as np

from anchoredit_jax.stages.sequence import SequenceLossConfig, sequence_loss


def loss_of(answers=None, **config):
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
        answers=answers,
    )
    return np.asarray(errors), np.asarray(kept), metrics


ANSWERS = jnp.zeros((2, 3, 4, 4)).at[1, 1, 3, 0].set(1.0).at[1, 2].set(1.0)


def test_the_hard_term_leaves_out_frames_with_several_right_answers():
    plain, _, _ = loss_of()
    everywhere, _, metrics = loss_of(hard_weight=1.0)
    assert (everywhere > plain).all()
    some, kept, some_metrics = loss_of(ANSWERS, hard_weight=1.0)
    np.testing.assert_allclose(some[0], everywhere[0])
    np.testing.assert_allclose(some[1], plain[1])  # the plain term sees every frame
    np.testing.assert_array_equal(kept, 1.0)
    assert some_metrics["hard"] != metrics["hard"]


def test_the_edit_term_takes_every_token_that_a_right_answer_changes():
    """Of a frame with several answers, whatever its own image shows."""
    config = dict(edit_weight=1.0, edit_threshold=100.0)  # no image changes by so much
    plain, _, _ = loss_of()
    none, _, _ = loss_of(**config)
    np.testing.assert_allclose(none, plain)
    some, _, metrics = loss_of(ANSWERS, **config)
    np.testing.assert_allclose(some[0], plain[0])
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(2, 3, 4, 4, 2))
    target = np.square(rng.normal(size=latents.shape) - latents)[1]
    expected = (target[1, 2:, :2].mean() + target[2].mean()) / 2
    np.testing.assert_allclose(some[1] - plain[1], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["edit"], expected, rtol=1e-5)
