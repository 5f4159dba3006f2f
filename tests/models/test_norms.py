"""The hand-written derivatives equal plain autodiff."""

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.models import norms


def inputs():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 5, 8)), jnp.float32)
    scale = jnp.asarray(rng.normal(size=(2, 3, 1, 8)), jnp.float32)
    shift = jnp.asarray(rng.normal(size=(2, 3, 1, 8)), jnp.float32)
    weights = jnp.asarray(rng.normal(size=(2, 3, 5, 8)), jnp.float32)
    return x, scale, shift, weights


def test_modulated_norm():
    x, scale, shift, weights = inputs()

    def plain(x, scale, shift):
        return jnp.sum(weights * (norms.layer_norm(x, 1e-6) * (1.0 + scale) + shift))

    def ours(x, scale, shift):
        return jnp.sum(weights * norms.modulated_norm(x, scale, shift, 1e-6))

    for got, expected in zip(
        jax.grad(ours, (0, 1, 2))(x, scale, shift),
        jax.grad(plain, (0, 1, 2))(x, scale, shift),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_gated_residual():
    x, gate, _, weights = inputs()
    update = x[::-1] + 1.0
    got = jax.grad(lambda *a: jnp.sum(weights * norms.gated_residual(*a)), (0, 1, 2))(
        x, gate, update
    )
    expected = jax.grad(lambda x, g, u: jnp.sum(weights * (x + g * u)), (0, 1, 2))(
        x, gate, update
    )
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_norms_are_float32_inside():
    x = jnp.asarray(300.0 + 4 * np.arange(8), jnp.bfloat16).reshape(1, 1, 1, 8)
    zero = jnp.zeros((1, 1, 1, 8), jnp.float32)
    out = norms.modulated_norm(x, zero, zero, 1e-6)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out.mean(), 0.0, atol=1e-4)
