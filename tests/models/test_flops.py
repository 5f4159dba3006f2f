"""The count equals what a traced forward pass multiplies."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer, TransformerConfig
from anchoredit_jax.models.flops import forward_flops
from anchoredit_jax.testing import equations

CONFIG = TransformerConfig(
    dim=32, ffn_dim=48, num_heads=2, num_layers=3, text_dim=24, freq_dim=16
)
T, SIDE, S = 4, 6, 7


def traced(config, visibility) -> int:
    """Two times the multiplications of every product in the jaxpr, scans unrolled."""
    shapes = (
        jnp.zeros((1, T, SIDE, SIDE, config.channels)),
        jnp.zeros((1, T)),
        jnp.zeros((1, T - 1, S, config.text_dim)),
    )
    model = Transformer(config)
    params = jax.eval_shape(model.init, jax.random.key(0), *shapes)
    jaxpr = jax.make_jaxpr(lambda p: model.apply(p, *shapes, visibility=visibility))
    return _products(jaxpr(params).jaxpr)


def _products(jaxpr) -> int:
    total = 0
    for equation in equations(jaxpr):
        if equation.primitive.name != "dot_general":
            continue
        (contracted, _), _ = equation.params["dimension_numbers"]
        size = equation.outvars[0].aval.size
        for axis in contracted:
            size *= equation.invars[0].aval.shape[axis]
        total += 2 * size
    return total


@pytest.mark.parametrize(
    "visibility",
    [
        FrameVisibility("bidirectional"),
        FrameVisibility("causal"),
        FrameVisibility("causal", window=2, sink=1),
    ],
)
@pytest.mark.parametrize("text_visibility", ["current", "so_far"])
def test_counts_what_is_traced(visibility, text_visibility):
    # One layer: the body of the scan over layers stands once in the jaxpr.
    config = dataclasses.replace(CONFIG, num_layers=1, text_visibility=text_visibility)
    counted = forward_flops(
        config, frames=T, tokens=(SIDE // 2) ** 2, prompts=T - 1, text_tokens=S,
        visibility=visibility,
    )  # fmt: skip
    assert sum(counted.values()) == traced(config, visibility)


def test_layers_multiply_all_but_the_ends():
    def count(layers):
        config = dataclasses.replace(CONFIG, num_layers=layers)
        return forward_flops(
            config, frames=T, tokens=9, prompts=3, text_tokens=S,
            visibility=FrameVisibility("causal"),
        )  # fmt: skip

    one, three = count(1), count(3)
    assert three["linear"] == 3 * one["linear"]
    assert three["attention"] == 3 * one["attention"]
    assert three["rest"] == one["rest"]
