"""Products in bfloat16; softmax, norms, RoPE, modulation and times in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from anchoredit_jax.models import Transformer
from anchoredit_jax.stages import causal_forcing, single_turn
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import (
    equations,
    tiny_batch,
    tiny_model,
    tiny_params,
    tiny_run,
)


@pytest.fixture(scope="module")
def traced():
    model, batch = tiny_model(dtype="bfloat16"), tiny_batch(1, 3)
    jaxpr = jax.make_jaxpr(Transformer(model).apply)(
        {"params": tiny_params()},
        batch["latents"],
        np.full((1, 3), 500.0, np.float32),
        batch["text"],
    )
    return list(equations(jaxpr.jaxpr))


def test_what_must_not_lose_digits_is_float32(traced):
    seen = set()
    for equation in traced:
        name = equation.primitive.name
        if name in ("exp", "rsqrt", "cos", "sin", "reduce_max"):
            seen.add(name)
            kinds = {v.aval.dtype for v in equation.invars if hasattr(v, "aval")}
            assert kinds == {jnp.dtype("float32")}, equation
    assert seen == {"exp", "rsqrt", "cos", "sin", "reduce_max"}
    assert traced[-1].outvars[0].aval.dtype == jnp.float32


def test_products_of_large_arrays_are_bfloat16(traced):
    """Linear maps, logits (summed in float32) and weighted values."""
    kinds = {}
    for equation in traced:
        if equation.primitive.name == "dot_general":
            operands = tuple(str(v.aval.dtype) for v in equation.invars)
            out = str(equation.outvars[0].aval.dtype)
            kinds.setdefault((*operands, out), []).append(equation)
    assert len(kinds[("bfloat16", "bfloat16", "bfloat16")]) >= 10
    assert len(kinds[("bfloat16", "bfloat16", "float32")]) >= 2  # the logits
    # Times and modulation: vectors of a frame, never all its tokens.
    for equation in kinds.get(("float32", "float32", "float32"), ()):
        assert equation.outvars[0].aval.size <= 3 * 8 * 8 * 32, equation


@pytest.mark.parametrize("module", [single_turn, causal_forcing])
def test_losses_and_gradients_are_those_of_float32_within_two_percent(module):
    stage = module.__name__.rpartition(".")[2]
    params = jax.tree.map(jnp.asarray, tiny_params())
    found = {}
    for dtype in ("float32", "bfloat16"):
        run = tiny_run(stage, model=dict(dtype=dtype))
        state = STAGES[stage].init_state(run, {"ema": params, "params": params})

        def loss(params, run=run, state=state):
            return jnp.mean(module.loss_fn(run, params, state, tiny_batch(4))[0])

        found[dtype] = jax.jit(jax.value_and_grad(loss))(params)
    (exact, gradient), (rounded, other) = found["float32"], found["bfloat16"]
    assert abs(rounded - exact) < 0.02 * exact
    gradient, other = ravel_pytree(gradient)[0], ravel_pytree(other)[0]
    assert other.dtype == jnp.float32 and np.isfinite(other).all()
    difference = np.linalg.norm(other - gradient) / np.linalg.norm(gradient)
    print(f"{stage}: gradients differ by {difference:.2%}")
    assert difference < 0.02
