"""Hundreds of turns: one program each, a memory of one size, no trace of the number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax import memory as memories
from anchoredit_jax import turn
from anchoredit_jax.diffusion import SamplerConfig
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.testing import (
    record_compilations,
    tiny_batch,
    tiny_model,
    tiny_params,
)

MODEL, CONFIG = tiny_model(), MemoryConfig(1, 3, "window_relative")
SAMPLER = SamplerConfig("few_step", 2)
NULL = np.zeros((4, 8), np.float32)


def source_memory(batch):
    return turn.start_memory(
        MODEL, tiny_params(), batch["latents"][:, 0], batch["text"][:, 0], NULL,
        CONFIG, SAMPLER,
    )  # fmt: skip


@jax.jit
def denoise(memory, text, noise):
    return turn.denoise(MODEL, tiny_params(), memory, text, NULL, noise, SAMPLER)


@jax.jit
def commit(memory, latents, text):
    return turn.commit_frame(MODEL, tiny_params(), memory, latents, text, NULL, SAMPLER)


def test_three_hundred_turns():
    tiny_params()  # made outside the programs
    batch = tiny_batch(1)
    memory = jax.jit(source_memory)(batch)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(memory))
    noise = np.random.default_rng(0).normal(size=(SAMPLER.draws, 1, 8, 8, 4))
    noise = np.float32(noise)
    with record_compilations() as compiled:
        for index in range(300):
            text = batch["text"][:, index % 3]
            latents = denoise(memory, text, noise)
            memory = commit(memory, latents, text)
    assert compiled == ["jit(denoise)", "jit(commit)"]
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(memory)) == size
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(memory))
    assert np.isfinite(latents).all()
    assert memory.count.tolist() == [301]
    assert sorted(memory.frames[0].tolist()) == [0, 298, 299, 300]


@pytest.mark.parametrize("late", [50, 1000])
def test_a_window_relative_turn_does_not_know_its_number(late):
    """The same content at turn 10 and much later gives the same output, bit for bit."""
    tiny_params()
    batch = tiny_batch(1, 11)
    memory = jax.jit(source_memory)(batch)
    for index in range(1, 10):
        text = batch["text"][:, index - 1]
        memory = commit(memory, batch["latents"][:, index], text)
    moved = memory.replace(
        count=memory.count + late - 10,
        frames=jnp.where(memory.frames > 0, memory.frames + late - 10, memory.frames),
    )
    assert memories.view(moved).next_position.tolist() == [4]
    noise = np.random.default_rng(0).normal(size=(SAMPLER.draws, 1, 8, 8, 4))
    text = batch["text"][:, 9]
    np.testing.assert_array_equal(
        denoise(memory, text, np.float32(noise)),
        denoise(moved, text, np.float32(noise)),
    )
