"""The count equals what a traced forward pass multiplies."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from anchoredit_jax.memory import FrameVisibility, MemoryView
from anchoredit_jax.models import Transformer, TransformerConfig
from anchoredit_jax.models.flops import forward_flops
from anchoredit_jax.testing import matrix_products

CONFIG = TransformerConfig(
    dim=32, ffn_dim=48, num_heads=2, num_layers=3, text_dim=24, freq_dim=16
)
T, SIDE, S = 4, 6, 7


def traced(config, visibility) -> int:
    """Operations of every product in the jaxpr."""
    shapes = (
        jnp.zeros((1, T, SIDE, SIDE, config.channels)),
        jnp.zeros((1, T)),
        jnp.zeros((1, T - 1, S, config.text_dim)),
    )
    model = Transformer(config)
    params = jax.eval_shape(model.init, jax.random.key(0), *shapes)
    jaxpr = jax.make_jaxpr(lambda p: model.apply(p, *shapes, visibility=visibility))
    return matrix_products(jaxpr(params).jaxpr)


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
    config = dataclasses.replace(CONFIG, text_visibility=text_visibility)
    counted = forward_flops(
        config, frames=T, tokens=(SIDE // 2) ** 2, prompts=T - 1, text_tokens=S,
        visibility=visibility,
    )  # fmt: skip
    assert sum(counted.values()) == traced(config, visibility)


@pytest.mark.parametrize("frames", [1, 2])
def test_counts_frames_beside_a_memory(frames):
    slots, tokens = 5, (SIDE // 2) ** 2
    shape = (CONFIG.num_layers, 1, slots, tokens, CONFIG.num_heads, CONFIG.head_dim)
    past = MemoryView(
        keys=jnp.zeros(shape),
        values=jnp.zeros(shape),
        valid=jnp.ones((1, slots), bool),
        positions=jnp.arange(slots)[None],
        next_position=jnp.array([slots]),
    )
    inputs = (
        jnp.zeros((1, frames, SIDE, SIDE, CONFIG.channels)),
        jnp.zeros((1, frames)),
        jnp.zeros((1, frames, S, CONFIG.text_dim)),
    )
    model = Transformer(CONFIG)
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    jaxpr = jax.make_jaxpr(lambda p: model.apply(p, *inputs, past=past, source=False))
    counted = forward_flops(
        CONFIG, frames=frames, tokens=tokens, prompts=frames, text_tokens=S,
        visibility=FrameVisibility("causal"), past=slots,
    )  # fmt: skip
    assert sum(counted.values()) == matrix_products(jaxpr(params).jaxpr)


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
