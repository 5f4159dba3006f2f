"""Prefix attention against masked attention, and late turns against early ones."""

import functools

import jax
import jax.numpy as jnp

from anchoredit_jax import memory as memories
from anchoredit_jax import turn
from anchoredit_jax.diffusion import SamplerConfig
from anchoredit_jax.memory import FrameVisibility, MemoryConfig
from anchoredit_jax.models import Transformer, TransformerConfig
from anchoredit_jax.models.attention import frame_attention
from benchmarks.timing import Timing, interleave

HEADS, HEAD_DIM = 4, 64


def benchmark_attention(
    tokens: int, frames: int = 6, repetitions: int = 10
) -> dict[str, Timing]:
    """Causal self-attention of one sequence, forward and backward, float32.

    Args:
      tokens: a frame.

    Returns:
      "prefix" (no masked work), "masked" (every query against every key, in blocks)
      and "dense" (the same, with all weights at once and the derivative of autodiff).
    """
    shape = (1, frames, tokens, HEADS, HEAD_DIM)
    inputs = [jax.random.normal(jax.random.key(i), shape) for i in range(4)]

    def run(backend):
        def loss(query, key, value, weights):
            out = frame_attention(
                query, key, value, FrameVisibility("causal"), backend=backend
            )
            return jnp.sum(out * weights)

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
        return lambda: gradient(*inputs)

    backends = {"prefix": run("prefix"), "masked": run("xla"), "dense": run("dense")}
    return interleave(backends, repetitions)


def benchmark_turns(
    early: int = 5, late: int = 100, tokens_side: int = 16, repetitions: int = 30
) -> dict[str, Timing]:
    """One turn (denoise in four steps, commit) of a session at two of its turns.

    Args:
      early, late: turns, both behind a full window.
      tokens_side: tokens a frame are its square.

    Returns:
      "early" and "late".
    """
    model = TransformerConfig(
        dim=128, ffn_dim=256, num_heads=4, num_layers=4, text_dim=32, freq_dim=64
    )
    side = tokens_side * model.patch
    latents = jax.random.normal(jax.random.key(0), (1, side, side, model.channels))
    text = jax.random.normal(jax.random.key(1), (1, 16, model.text_dim))
    null = jnp.zeros(text.shape[1:])
    sampler = SamplerConfig("few_step", 4)
    params = jax.jit(Transformer(model).init)(
        jax.random.key(2), latents[:, None], jnp.zeros((1, 1)), text[:, None]
    )["params"]
    config = MemoryConfig(1, 3, "window_relative")

    @jax.jit
    def start():
        return turn.start_memory(model, params, latents, text, null, config, sampler)

    @jax.jit
    def generate(memory, index):
        keys = turn.session_key(0, 0, index)[None]
        shape = latents.shape[1:]
        return turn.generate_turn(
            model, params, memory, text, null, keys, shape, sampler
        )

    memory, kept = start(), {}
    for index in range(1, late + 1):
        if index in (early, late):
            kept[index] = memory
        _, memory = generate(memory, index)
    assert int(memories.view(memory).next_position[0]) == config.sink + config.window
    return interleave(
        {
            "early": functools.partial(generate, kept[early], early),
            "late": functools.partial(generate, kept[late], late),
        },
        repetitions,
    )
