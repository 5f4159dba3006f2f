"""Rotary positions against the closed form in float64."""

import jax.numpy as jnp
import numpy as np

from anchoredit_jax.models import rope


def closed_form(x, angle):
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angle)
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def test_axis_split_of_wan():
    assert rope.axis_dims(128) == (44, 42, 42)
    assert rope.axis_dims(32) == (12, 10, 10)


def test_far_positions_keep_their_digits():
    """Turn 10,000 at stride 4: no table to run out of, no lost precision."""
    head_dim, position = 32, 40_000.0
    cos, sin = rope.rotations(jnp.array([[position]]), 2, 3, head_dim)
    x = np.random.default_rng(0).normal(size=(1, 1, 6, 1, head_dim))
    angle = np.zeros((6, head_dim // 2))
    for token in range(6):
        row, column = divmod(token, 3)
        angle[token] = np.concatenate(
            [
                place * 10000.0 ** (-np.arange(0, dim, 2) / dim)
                for place, dim in zip(
                    (position, row, column), (12, 10, 10), strict=True
                )
            ]
        )
    expected = closed_form(x, angle[None, None, :, None])
    got = rope.rotate(jnp.asarray(x, jnp.float32), cos, sin)
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_rotation_is_relative():
    """Logits depend on distances only."""
    rng = np.random.default_rng(1)
    query, key = (
        jnp.asarray(rng.normal(size=(1, 1, 4, 1, 32)), jnp.float32) for _ in "qk"
    )

    def logits(query_at, key_at):
        q = rope.rotate(query, *rope.rotations(jnp.array([[query_at]]), 2, 2, 32))
        k = rope.rotate(key, *rope.rotations(jnp.array([[key_at]]), 2, 2, 32))
        return jnp.einsum("btlnh,btmnh->btnlm", q, k)

    np.testing.assert_allclose(logits(12.0, 4.0), logits(48.0, 40.0), atol=1e-4)


def test_a_spatial_stride_keeps_opposite_edges_apart():
    """At stride 1 the fastest pair turns once in 6.28 tokens."""
    query = jnp.ones((1, 1, 64, 1, 32))

    def logits(stride):
        turned = rope.rotate(
            query, *rope.rotations(jnp.zeros((1, 1)), 8, 8, 32, stride)
        )
        turned = np.asarray(turned)[0, 0, :8, 0, 22:24]  # fastest pair of columns
        return turned @ turned.T

    place = np.arange(8)
    for stride in (1.0, 0.6):
        expected = 2 * np.cos(stride * (place[:, None] - place[None]))
        np.testing.assert_allclose(logits(stride), expected, atol=1e-5)
    assert logits(1.0)[0, 6] > 1.9 > 0 > logits(0.6)[0, 6]
