"""The hand-written derivatives equal plain autodiff."""

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.models import norms


def layer_norm(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)


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
        return jnp.sum(weights * (layer_norm(x) * (1.0 + scale) + shift))

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


def test_norms_with_parameters():
    x, scale, shift, weights = inputs()
    params = {"scale": 1.0 + scale[0, 0, 0], "bias": shift[0, 0, 0]}
    rms = {"scale": params["scale"]}

    def rms_norm(x):
        return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)

    cases = {
        "affine": (norms.AffineLayerNorm(1e-6), params, layer_norm),
        "rms": (norms.RMSNorm(1e-6), rms, rms_norm),
    }
    for module, params, plain in cases.values():

        def ours(x, params, module=module):
            return jnp.sum(weights * module.apply({"params": params}, x))

        def theirs(x, params, plain=plain):
            scale = params["scale"].reshape(1, 1, 1, -1)
            bias = params.get("bias", jnp.zeros(8)).reshape(1, 1, 1, -1)
            return jnp.sum(weights * (plain(x) * scale + bias))

        got, expected = (jax.grad(f, (0, 1))(x, params) for f in (ours, theirs))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), got, expected
        )


def test_norms_are_float32_inside():
    x = jnp.asarray(300.0 + 4 * np.arange(8), jnp.bfloat16).reshape(1, 1, 1, 8)
    zero = jnp.zeros((1, 1, 1, 8), jnp.float32)
    out = norms.modulated_norm(x, zero, zero, 1e-6)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out.mean(), 0.0, atol=1e-4)
