"""One turn of a session: denoise a frame beside the memory, then commit it.

The network, the memory and the sampler meet here, for editing, evaluation and
self-rollout in training alike. One compiled program serves every turn: the memory has a
static shape and the turn number is no argument of anything (design 3.4).
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from anchoredit_jax import memory as memories
from anchoredit_jax import randomness
from anchoredit_jax.diffusion import samplers
from anchoredit_jax.memory import CausalMemory, MemoryConfig, MemoryView
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.transformer import Transformer

STEPS_SCOPE = "denoise_steps"  # names the loop in compiled programs, for plans


def session_key(seed: int, session: int, turn: jax.Array) -> jax.Array:
    """The key of a turn's draws: a function of (seed, session, turn) and no more."""
    root = randomness.stage_key(seed, "session")
    return jax.random.fold_in(jax.random.fold_in(root, session), turn)


def start_memory(
    model: TransformerConfig,
    params: dict,
    source: jax.Array,
    text: jax.Array,
    null_text: jax.Array,
    config: MemoryConfig,
    sampler: samplers.SamplerConfig,
    max_frames: int | None = None,
) -> CausalMemory:
    """The memory of a new session: the source committed at timestep 0.

    Args:
      source: [B, h, w, C].
      text: the first prompt [B, S, Dt] (what the source sees of it is the model's
        `source_prompt`).
      null_text: the null instruction [S, Dt], or one a session [B, S, Dt].
      max_frames: size of a full history (config.window None).

    Returns:
      a memory of batch B, or 2B when guided: conditional sessions, then unconditional.
    """
    batch, height, width, _ = source.shape
    guided = sampler.guidance != 1.0
    memory = memories.init_memory(
        config,
        layers=model.num_layers,
        batch=batch * (2 if guided else 1),
        tokens=(height // model.patch) * (width // model.patch),
        heads=model.num_heads,
        head_dim=model.head_dim,
        dtype=jnp.dtype(model.dtype),
        max_frames=max_frames,
    )
    return _commit(model, params, memory, source, text, null_text, guided, source=True)


def generate_turn(
    model: TransformerConfig,
    params: dict,
    memory: CausalMemory,
    text: jax.Array,
    null_text: jax.Array,
    keys: jax.Array,
    shape: tuple[int, int, int],
    sampler: samplers.SamplerConfig,
) -> tuple[jax.Array, CausalMemory]:
    """Draw the next frame of B sessions and remember it.

    Args:
      text: this turn's prompts [B, S, Dt].
      keys: [B], see `session_key`.
      shape: (h, w, C) of a latent frame.

    Returns:
      (latents [B, h, w, C], memory).
    """
    noise = turn_noise(keys, shape, sampler)
    latents = denoise(model, params, memory, text, null_text, noise, sampler)
    return latents, commit_frame(
        model, params, memory, latents, text, null_text, sampler
    )


def turn_noise(
    keys: jax.Array, shape: tuple[int, int, int], sampler: samplers.SamplerConfig
) -> jax.Array:
    """All draws of a turn of B sessions, [sampler.draws, B, h, w, C]."""
    return jnp.moveaxis(randomness.normals(keys, (sampler.draws, *shape)), 1, 0)


def denoise(model, params, memory, text, null_text, noise, sampler) -> jax.Array:
    """Draw a frame beside the memory from given noise [steps, B, h, w, C]."""
    return denoise_path(model, params, memory, text, null_text, noise, sampler)[0]


def denoise_path(model, params, memory, text, null_text, noise, sampler):
    """`denoise`, and what each step gave, see `samplers.sample_path`."""
    velocity = _guided_velocity(model, params, memory, text, null_text, sampler)
    return samplers.sample_path(velocity, noise, sampler)


def denoise_steps(
    model, params, memory, text, null_text, x, noise, first, last, sampler
) -> jax.Array:
    """Some of the steps of `denoise`, see `samplers.sample_steps`."""
    velocity = _guided_velocity(model, params, memory, text, null_text, sampler)
    with jax.named_scope(STEPS_SCOPE):
        return samplers.sample_steps(velocity, x, noise, first, last, sampler)


def commit_frame(model, params, memory, latents, text, null_text, sampler):
    """Remember a clean frame [B, h, w, C] made under `text`: a pass at timestep 0."""
    guided = sampler.guidance != 1.0
    return _commit(
        model, params, memory, latents, text, null_text, guided, source=False
    )


def _guided_velocity(model, params, memory, text, null_text, sampler):
    """(x [B, h, w, C], timestep) -> velocity, for the sampler."""
    guided = sampler.guidance != 1.0
    velocity = beside_memory(
        model, params, memories.view(memory), _with_null(text, null_text, guided)
    )

    def guided_velocity(x, timestep):
        if not guided:
            return velocity(x, jnp.full(x.shape[:1], timestep))
        both = velocity(jnp.concatenate([x, x]), jnp.full(2 * len(x), timestep))
        return samplers.guide(*jnp.split(both, 2), sampler.guidance)

    return guided_velocity


def beside_memory(model, params, past: MemoryView, text):
    """Velocity of one frame beside a memory: (x [B, h, w, C], timesteps [B]) -> v."""
    apply = functools.partial(Transformer(model).apply, {"params": params})

    def velocity(x, timesteps):
        return apply(
            x[:, None], timesteps[:, None], text[:, None], past=past, source=False
        )[:, 0]

    return velocity


def remember_sequence(model, params, latents, text, visibility, positions):
    """Keys and values that turn-by-turn commits of clean frames would store.

    One causal pass over all frames at timestep 0 instead of one pass a frame.

    Args:
      latents: [B, T, h, w, C].
      text: [B, T - 1, S, Dt].
      positions: temporal positions [B or 1, T] in frames.

    Returns:
      (keys, values), each [layers, B, T, L, N, H].
    """
    _, kept = Transformer(model).apply(
        {"params": params},
        latents,
        jnp.zeros(latents.shape[:2], jnp.float32),
        text,
        visibility=visibility,
        positions=positions,
        collect=True,
    )
    return kept


def _commit(model, params, memory, latents, text, null_text, guided, source):
    text = _with_null(text, null_text, guided)
    latents = jnp.concatenate([latents, latents]) if guided else latents
    past = None if source else memories.view(memory)
    timesteps = jnp.zeros((len(latents), 1), jnp.float32)
    _, (keys, values) = Transformer(model).apply(
        {"params": params},
        latents[:, None],
        timesteps,
        text[:, None],
        past=past,
        source=source,
        collect=True,
    )
    memory = memories.commit(memory, keys, values)
    return memory.replace(keys=_placed(memory.keys), values=_placed(memory.values))


def _placed(kept):
    """Keys or values of a memory where a mesh's devices compute with them."""
    axes = ("layers", "batch", "frame", "token", "heads", None)
    return nn.with_logical_constraint(kept, axes)


def _with_null(text, null_text, guided):
    if not guided:
        return text
    return jnp.concatenate([text, jnp.broadcast_to(null_text, text.shape)])
