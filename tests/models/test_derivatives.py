"""Forward mode through everything that has a derivative written by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer, attention, kernels, norms
from anchoredit_jax.models.derivatives import differentiable
from anchoredit_jax.models.splash import splash_frame_attention, splash_prompt_attention
from anchoredit_jax.testing import tiny_batch, tiny_model, tiny_params

CHOSEN = FrameVisibility(choices=((None, 0), (2, 0)), choice=np.array([1]))


def plain_derivatives(monkeypatch):
    """From here on the norms are left to JAX's own derivatives."""
    monkeypatch.setattr(norms, "differentiable", lambda f, _, __, *args: f(*args)[0])


@pytest.fixture
def interpreted(monkeypatch):
    """The TPU kernel, step by step on a CPU."""
    tpu = jax.sharding.AbstractDevice("TPU v5", None, "tpu")
    monkeypatch.setattr(kernels, "device_at_hand", lambda: tpu)
    for kernel in (splash_frame_attention, splash_prompt_attention):
        slow = functools.partial(kernel, interpret=True)
        monkeypatch.setattr(attention, kernel.__name__, slow)


def flow(backend, visibility=None):
    """(latents, timesteps, params) -> velocity, and a point and a direction there."""
    model = Transformer(tiny_model(attention=backend))
    batch, rng = tiny_batch(1, 3), np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(x + 0.05 * rng.normal(size=x.shape), jnp.float32),
        tiny_params(),
    )

    def velocity(latents, timesteps, params):
        return model.apply(
            {"params": params}, latents, timesteps, batch["text"], visibility=visibility
        )

    point = (jnp.asarray(batch["latents"]), jnp.full((1, 3), 500.0), params)
    direction = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), point
    )
    return velocity, point, direction


def close(got, want, tolerance=1e-4):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("rule", [None, CHOSEN])
@pytest.mark.parametrize("backend", ["prefix", "xla", "splash"])
def test_tangents_are_those_of_plain_operations(
    backend, rule, interpreted, monkeypatch
):
    velocity, point, direction = flow(backend, rule)
    got = jax.jit(lambda: jax.jvp(velocity, point, direction))()
    plain_derivatives(monkeypatch)
    velocity, *_ = flow("dense", rule)
    want = jax.jit(lambda: jax.jvp(velocity, point, direction))()
    close(got, want)


def test_losses_of_a_time_derivative_have_gradients(monkeypatch):
    """Of the derivative along the path, and the derivative of a gradient."""

    def both(velocity, point, direction):
        latents, timesteps, params = point

        def loss(params):
            def at(latents, timesteps):
                return velocity(latents, timesteps, params)

            _, change = jax.jvp(at, (latents, timesteps), direction[:2])
            return jnp.mean(jnp.square(change))

        def size(params):
            return jnp.mean(jnp.square(velocity(latents, timesteps, params)))

        curvature = jax.jvp(jax.grad(size), (params,), direction[2:])[1]
        return jax.grad(loss)(params), curvature

    inputs = flow("prefix")
    got = jax.jit(lambda: both(*inputs))()
    plain_derivatives(monkeypatch)
    _, *inputs = flow("prefix")
    want = jax.jit(lambda: both(flow("dense")[0], *inputs))()
    close(got, want, 1e-3)


def cubed(x, on):
    """x^3, or 0 where not `on`."""
    return differentiable(
        lambda x, on: (jnp.where(on, x**3, 0.0), (x, on)),
        lambda kept, moved, _: jnp.where(kept[1], 3 * kept[0] ** 2 * moved, 0.0),
        lambda kept, given: (jnp.where(kept[1], 3 * kept[0] ** 2 * given, 0.0), None),
        x,
        on,
    )


@pytest.mark.parametrize(
    "derivative",
    [
        jax.grad,
        jax.jacfwd,
        lambda f: jax.jacfwd(jax.grad(f)),
        lambda f: jax.grad(jax.jacfwd(f)),
        lambda f: jax.grad(jax.grad(jax.grad(f))),
    ],
)
def test_batches_and_higher_orders(derivative):
    x, on = jnp.array([1.0, 2.0, 3.0]), jnp.array([True, True, False])
    want = jnp.where(on, jax.vmap(derivative(lambda x: x**3))(x), 0.0)
    got = jax.vmap(lambda x, on: derivative(lambda x: cubed(x, on))(x))(x, on)
    np.testing.assert_allclose(got, want)
    got = jax.vmap(lambda on: derivative(lambda x: cubed(x, on))(2.0))(on)
    np.testing.assert_allclose(got, jnp.where(on, want[1], 0.0))
    got = derivative(lambda scale: jax.vmap(cubed)(scale * x, on).sum())(1.0)
    np.testing.assert_allclose(got, derivative(lambda s: s**3)(1.0) * 9.0)
