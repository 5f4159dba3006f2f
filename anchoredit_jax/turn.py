"""One turn of a session: denoise a frame beside the memory, then commit it.

The network, the memory and the sampler meet here, for editing, evaluation and
self-rollout in training alike. One compiled program serves every turn: the memory has a
static shape and the turn number is no argument of anything (docs/method.md, Memory).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from anchoredit_jax import memory as memories
from anchoredit_jax import randomness
from anchoredit_jax.arrays import Array, Float, Integer, Key, Params, Real
from anchoredit_jax.diffusion import samplers
from anchoredit_jax.memory import (
    CausalMemory,
    FrameVisibility,
    MemoryConfig,
    MemoryView,
)
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.transformer import KeysValues, Transformer

Latents = Float[Array, "B h w C"]
Noise = Float[Array, "draws B h w C"]
Text = Float[Array, "B S Dt"]
NullText = Float[Array, "S Dt"] | Float[Array, "B S Dt"]

STEPS_SCOPE = "denoise_steps"  # names the loop in compiled programs, for plans


def session_key(
    seed: int | Integer[Array, ""],
    session: int | Integer[Array, ""],
    turn: int | Integer[Array, ""],
) -> Key[Array, ""]:
    """The key of a turn's draws: a function of (seed, session, turn) and no more."""
    root = randomness.stage_key(seed, "session")
    return jax.random.fold_in(jax.random.fold_in(root, session), turn)


def start_memory(
    model: TransformerConfig,
    params: Params,
    source: Latents,
    text: Text,
    null_text: NullText,
    config: MemoryConfig,
    sampler: samplers.SamplerConfig,
    max_frames: int | None = None,
) -> CausalMemory:
    """The memory of a new session: the source committed at timestep 0.

    Args:
      model, params: the network.
      source: the latents of every session's source.
      text: the first prompt (what the source sees of it is the model's
        `source_prompt`).
      null_text: the null instruction, one or each session's own.
      config: what is remembered.
      sampler: how frames will be drawn; tells whether sessions are guided.
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
    params: Params,
    memory: CausalMemory,
    text: Text,
    null_text: NullText,
    keys: Key[Array, " B"],
    shape: tuple[int, int, int],
    sampler: samplers.SamplerConfig,
) -> tuple[Latents, CausalMemory]:
    """Draw the next frame of B sessions and remember it.

    Args:
      model, params: the network.
      memory: of the frames before.
      text: this turn's prompts.
      null_text: as in `start_memory`.
      keys: see `session_key`.
      shape: (h, w, C) of a latent frame.
      sampler: how the frame is drawn.
    """
    noise = turn_noise(keys, shape, sampler)
    latents = denoise(model, params, memory, text, null_text, noise, sampler)
    return latents, commit_frame(
        model, params, memory, latents, text, null_text, sampler
    )


def turn_noise(
    keys: Key[Array, " B"],
    shape: tuple[int, int, int],
    sampler: samplers.SamplerConfig,
) -> Noise:
    """Draw all noise of a turn."""
    return jnp.moveaxis(randomness.normals(keys, (sampler.draws, *shape)), 1, 0)


def denoise(
    model: TransformerConfig,
    params: Params,
    memory: CausalMemory,
    text: Text,
    null_text: NullText,
    noise: Noise,
    sampler: samplers.SamplerConfig,
) -> Latents:
    """Draw a frame beside the memory from the noise given."""
    velocity = guided_velocity(model, params, memory, text, null_text, sampler)
    return samplers.sample(velocity, noise, sampler)[0]


def denoise_steps(
    model: TransformerConfig,
    params: Params,
    memory: CausalMemory,
    text: Text,
    null_text: NullText,
    x: Latents,
    noise: Noise,
    first: Integer[Array, ""] | int,
    last: Integer[Array, ""] | int,
    sampler: samplers.SamplerConfig,
) -> Latents:
    """Some of the steps of `denoise`, see `samplers.sample_steps`."""
    velocity = guided_velocity(model, params, memory, text, null_text, sampler)
    with jax.named_scope(STEPS_SCOPE):
        return samplers.sample_steps(velocity, x, noise, first, last, sampler)


def commit_frame(
    model: TransformerConfig,
    params: Params,
    memory: CausalMemory,
    latents: Latents,
    text: Text,
    null_text: NullText,
    sampler: samplers.SamplerConfig,
) -> CausalMemory:
    """Remember a clean frame made under `text`: a pass at timestep 0."""
    guided = sampler.guidance != 1.0
    return _commit(
        model, params, memory, latents, text, null_text, guided, source=False
    )


def guided_velocity(
    model: TransformerConfig,
    params: Params,
    memory: CausalMemory,
    text: Text,
    null_text: NullText,
    sampler: samplers.SamplerConfig,
) -> samplers.Velocity:
    """The velocity for the sampler: of x, at a timestep that all sessions share."""
    guided = sampler.guidance != 1.0
    velocity = beside_memory(
        model, params, memories.view(memory), _with_null(text, null_text, guided)
    )

    def of_sessions(x: Latents, timestep: Real[Array, ""]) -> Latents:
        if not guided:
            return velocity(x, jnp.full(x.shape[:1], timestep))
        both = velocity(jnp.concatenate([x, x]), jnp.full(2 * len(x), timestep))
        conditional, unconditional = jnp.split(both, 2)
        return samplers.guide(conditional, unconditional, sampler.guidance)

    return of_sessions


def beside_memory(
    model: TransformerConfig, params: Params, past: MemoryView, text: Text
) -> samplers.Velocity:
    """The velocity of one frame beside a memory: of x, at each session's timestep."""
    apply = _network(model, params)

    def velocity(x: Latents, timesteps: Real[Array, " B"]) -> Latents:
        return apply(
            x[:, None], timesteps[:, None], text[:, None], past=past, source=False
        )[:, 0]

    return velocity


def remember_sequence(
    model: TransformerConfig,
    params: Params,
    latents: Float[Array, "B T h w C"],
    text: Float[Array, "B prompts S Dt"],
    visibility: FrameVisibility,
    positions: Real[Array, "_ T"],
) -> KeysValues:
    """Keys and values that turn-by-turn commits of clean frames would store.

    One causal pass over all frames at timestep 0 instead of one pass a frame.

    Args:
      model, params: the network.
      latents: T clean frames.
      text: their T - 1 prompts.
      visibility, positions: as the transformer takes them.

    Returns:
      (keys, values).
    """
    _, kept = _network(model, params)(
        latents,
        jnp.zeros(latents.shape[:2], jnp.float32),
        text,
        visibility=visibility,
        positions=positions,
        collect=True,
    )
    return kept


def _commit(
    model: TransformerConfig,
    params: Params,
    memory: CausalMemory,
    latents: Latents,
    text: Text,
    null_text: NullText,
    guided: bool,
    source: bool,
) -> CausalMemory:
    text = _with_null(text, null_text, guided)
    latents = jnp.concatenate([latents, latents]) if guided else latents
    past = None if source else memories.view(memory)
    timesteps = jnp.zeros((len(latents), 1), jnp.float32)
    _, (keys, values) = _network(model, params)(
        latents[:, None],
        timesteps,
        text[:, None],
        past=past,
        source=source,
        collect=True,
    )
    memory = memories.commit(memory, keys, values)
    return dataclasses.replace(
        memory, keys=_placed(memory.keys), values=_placed(memory.values)
    )


def _network(model: TransformerConfig, params: Params) -> Callable[..., Any]:
    """The transformer as a function of what it is called with."""
    return functools.partial(Transformer(model).apply, {"params": params})


def _placed(kept: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Keys or values of a memory where a mesh's devices compute with them."""
    axes = ("layers", "batch", "frame", "token", "heads", None)
    return nn.with_logical_constraint(kept, axes)


def _with_null(
    text: Text, null_text: NullText, guided: bool
) -> Float[Array, "sessions S Dt"]:
    if not guided:
        return text
    return jnp.concatenate([text, jnp.broadcast_to(null_text, text.shape)])
