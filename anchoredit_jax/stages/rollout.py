"""Self-rollout: history generated turn by turn through the memory, as editing does."""

from typing import Any

import jax
import jax.numpy as jnp

from anchoredit_jax import randomness, turn
from anchoredit_jax.arrays import Array, Float, Int, Key
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.memory import CausalMemory, MemoryConfig
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.stages.step import Batch, Params

TURNS_SCOPE = "rollout_turns"  # names the loop in compiled programs, for plans


def generate_history(
    run: RunConfig,
    params: Params,
    batch: Batch,
    sampler: SamplerConfig,
    turns: int | Int[Array, ""],
    noise: Float[Array, "T steps B h w C"],
) -> tuple[Float[Array, "B T h w C"], CausalMemory]:
    """Frames 1..turns generated through a memory, the rest zeros, and that memory.

    A frame that is no target (`frame_valid` 0) stays the ground truth.

    Args:
      turns: traced int32, how many frames (a while loop, no wasted passes).
      noise: [T, steps, B, h, w, C], the draws of frame i at noise[i].

    Returns:
      (sequence [B, T, h, w, C] with the ground-truth source, memory).
    """
    latents, text = batch["latents"], batch["text"]
    null_text = batch["null_text"]
    memory = turn.start_memory(
        run.model,
        params,
        latents[:, 0],
        text[:, 0],
        null_text,
        MemoryConfig(0, None, "absolute"),
        sampler,
        max_frames=latents.shape[1],
    )
    sequence = jnp.zeros_like(latents).at[:, 0].set(latents[:, 0])

    def one_turn(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        index, memory, sequence = carry
        prompt = jnp.take(text, index - 1, axis=1)
        drawn = turn.denoise(
            run.model, params, memory, prompt, null_text, noise[index], sampler
        )
        known = jnp.take(batch["frame_valid"], index, axis=1) == 0
        drawn = jnp.where(
            known[:, None, None, None], jnp.take(latents, index, axis=1), drawn
        )
        memory = turn.commit_frame(
            run.model, params, memory, drawn, prompt, null_text, sampler
        )
        return index + 1, memory, sequence.at[:, index].set(drawn)

    carry = (jnp.int32(1), memory, sequence)
    with jax.named_scope(TURNS_SCOPE):
        _, memory, sequence = jax.lax.while_loop(
            lambda c: c[0] <= turns, one_turn, carry
        )
    return sequence, memory


def sequence_noise(
    keys: Key[Array, " B"], frames: int, steps: int, shape: tuple[int, ...]
) -> Float[Array, "T steps B h w C"]:
    """Few-step draws [T, steps, B, h, w, C] from keys [B]."""
    return jnp.moveaxis(randomness.normals(keys, (frames, steps, *shape)), 0, 2)
