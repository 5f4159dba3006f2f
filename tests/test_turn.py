"""Turn by turn through the memory, against the full masked forward."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax import memory as memories
from anchoredit_jax import turn
from anchoredit_jax.diffusion import SamplerConfig
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models import Transformer
from anchoredit_jax.testing import tiny_batch, tiny_model, tiny_params

FRAMES = 12
SAMPLER = SamplerConfig("euler", steps=2)


def history(params, model, config, batch, frames=FRAMES):
    """Memories after committing ground-truth frames 0..i, for every i."""
    latents = batch["latents"]
    null = np.zeros((4, 8), np.float32)
    memory = turn.start_memory(
        model, params, latents[:, 0], batch["text"][:, 0], null, config, SAMPLER,
        max_frames=frames,
    )  # fmt: skip
    commit = jax.jit(
        lambda memory, frame, text: turn.commit_frame(
            model, params, memory, frame, text, null, SAMPLER
        )
    )
    states = [memory]
    for index in range(1, frames):
        memory = commit(memory, latents[:, index], batch["text"][:, index - 1])
        states.append(memory)
    return states


@functools.partial(jax.jit, static_argnums=0)
def velocity_beside(model, params, memory, x, text):
    past = memories.view(memory)
    beside = turn.beside_memory(model, params, past, text)
    return beside(x, jnp.full(x.shape[:1], 500.0))


@pytest.mark.parametrize(
    "config",
    [
        MemoryConfig(0, None, "absolute"),
        MemoryConfig(1, 3, "absolute"),
        MemoryConfig(0, 3, "absolute"),
    ],
)
@pytest.mark.parametrize("source_prompt", ["first_token", "first_prompt"])
def test_cached_turns_equal_the_masked_sequence(config, source_prompt):
    model = tiny_model(source_prompt=source_prompt)
    params, batch = tiny_params(model), tiny_batch(frames=FRAMES)
    states = history(params, model, config, batch)
    noisy = tiny_batch(frames=FRAMES, seed=1)["latents"]
    apply = jax.jit(
        functools.partial(Transformer(model).apply, visibility=config.visibility())
    )
    for index in range(1, FRAMES):
        # The whole sequence, with frame `index` alone noised.
        latents = batch["latents"][:, : index + 1].copy()
        latents[:, index] = noisy[:, index]
        padded = np.zeros_like(batch["latents"])
        padded[:, : index + 1] = latents
        timesteps = np.where(np.arange(FRAMES) == index, 500.0, 0.0)[None].repeat(2, 0)
        full = apply({"params": params}, padded, np.float32(timesteps), batch["text"])
        beside = velocity_beside(
            model,
            params,
            states[index - 1],
            noisy[:, index],
            batch["text"][:, index - 1],
        )
        np.testing.assert_allclose(beside, full[:, index], atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_one_program_serves_every_turn(guidance):
    model, batch = tiny_model(), tiny_batch()
    params, sampler = tiny_params(), SamplerConfig("few_step", 2, guidance=guidance)
    null = np.zeros((4, 8), np.float32)
    generate = jax.jit(
        lambda memory, text, keys: turn.generate_turn(
            model, params, memory, text, null, keys, (8, 8, 4), sampler
        )
    )
    memory = jax.jit(
        lambda source, text: turn.start_memory(
            model, params, source, text, null, MemoryConfig(1, 3), sampler
        )
    )(batch["latents"][:, 0], batch["text"][:, 0])
    size = jax.tree.map(jnp.shape, memory)
    for index in range(30):
        keys = jax.vmap(lambda s, i=index: turn.session_key(0, s, i))(jnp.arange(2))
        latents, memory = generate(memory, batch["text"][:, index % 3], keys)
    assert generate._cache_size() == 1
    assert jax.tree.map(jnp.shape, memory) == size
    assert np.isfinite(latents).all()


def test_draws_depend_on_seed_session_and_turn_only():
    key = turn.session_key(3, 5, 7)
    for other in ((4, 5, 7), (3, 6, 7), (3, 5, 8)):
        assert (
            jax.random.key_data(turn.session_key(*other)) != jax.random.key_data(key)
        ).any()
