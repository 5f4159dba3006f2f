"""Loss pieces against literal numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.diffusion import losses


def test_turn_weights():
    np.testing.assert_allclose(losses.turn_weights(4, 1.0), [0.0, 1.0, 1.5, 2.0])


def test_changed_tokens_and_their_error():
    latents = np.zeros((1, 3, 4, 4, 2), np.float32)
    latents[:, 1:, :2, 2:] = 1.0  # one token of four appears in frame 1 and stays
    changed = losses.changed_tokens(jnp.asarray(latents), latents[:, :-1], 2, 0.05)
    np.testing.assert_array_equal(changed[0, 1], [[0, 1], [0, 0]])
    assert float(changed[0, 0].sum()) == float(changed[0, 2].sum()) == 0.0
    prediction = np.zeros_like(latents)
    prediction[:, 1, :2, 2:] = 4.0  # wrong by 3 in the token, right elsewhere
    prediction[:, 1, 2:] = latents[:, 1, 2:]
    error = losses.token_errors(jnp.asarray(prediction), jnp.asarray(latents), changed)
    np.testing.assert_allclose(error, [[0.0, 9.0, 0.0]])


def test_tokens_whose_frame_before_is_right():
    latents = np.zeros((1, 3, 4, 4, 2), np.float32)
    latents[:, 1:] = 1.0
    history = latents.copy()
    history[:, 1, :2, 2:] = 0.4  # off by 0.6
    history[:, 1, 2:, :2] = 0.9  # by 0.1
    history[:, 2] = 7.0  # no frame is its own history
    agrees = losses.agreeing_tokens(jnp.asarray(latents), history, 2, 0.5)
    np.testing.assert_array_equal(
        agrees[0], [[[0, 0], [0, 0]], [[1, 1], [1, 1]], [[1, 0], [1, 1]]]
    )
    agrees = losses.agreeing_tokens(jnp.asarray(latents), history, 2, 0.7)
    np.testing.assert_array_equal(agrees[0, 2], [[1, 1], [1, 1]])


def test_the_worst_tokens_are_some_that_count():
    target = jnp.zeros((1, 1, 4, 4, 2))
    prediction = target.at[:, :, :2, :2].set(3.0).at[:, :, 2:, 2:].set(2.0)
    hard = losses.hard_errors(prediction, target, 2, 0.25)
    np.testing.assert_allclose(hard, [[9.0]])
    counted = jnp.array([[[[0.0, 1.0], [1.0, 1.0]]]])
    hard = losses.hard_errors(prediction, target, 2, 0.25, counted)
    np.testing.assert_allclose(hard, [[4.0]])


def test_samples_without_a_frame_in_the_loss_weigh_nothing():
    errors, kept = losses.weighted_mean(
        jnp.ones((2, 3)), jnp.array([[0, 1, 3.0], [0, 0, 0]])
    )
    np.testing.assert_allclose(errors, [1.0, 0.0])
    np.testing.assert_allclose(kept, [1.0, 0.0])


def test_distribution_matching_gradient():
    x0 = jnp.array([[1.0, 2.0]])
    real, fake = jnp.array([[0.0, 4.0]]), jnp.array([[1.0, 1.0]])
    scale = 1.5  # mean |x0 - real|
    expected = (fake - real) / scale
    loss, gradient = losses.distribution_matching(x0, real, fake)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    np.testing.assert_allclose(loss, 0.5 * jnp.mean(expected**2, -1), rtol=1e-6)
    got = jax.grad(lambda x: losses.distribution_matching(x, real, fake)[0].sum())(x0)
    np.testing.assert_allclose(got, expected / 2, rtol=1e-6)


def test_hard_errors_are_those_of_the_worst_tokens():
    """Four tokens of 2 x 2 latents with errors 1, 4, 9 and 16; in both halves alike."""
    root = jnp.array([[1.0, 2.0], [3.0, 4.0]]).repeat(2, 0).repeat(2, 1)
    prediction = root[None, None, :, :, None]
    target = jnp.zeros_like(prediction)
    for share, expected in ((0.25, 16.0), (0.5, 12.5), (1.0, 7.5), (0.01, 16.0)):
        hard = losses.hard_errors(prediction, target, 2, share)
        np.testing.assert_allclose(hard, [[expected]])
