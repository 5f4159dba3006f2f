"""The causal diffusion transformer: whole sequences, or frames beside a memory."""

import dataclasses
from collections.abc import Callable

import einops
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from anchoredit_jax.arrays import Array, Float, Float32, Real
from anchoredit_jax.diffusion import schedule
from anchoredit_jax.memory import FrameVisibility, MemoryView
from anchoredit_jax.memory.visibility import target_places
from anchoredit_jax.models import norms, rope
from anchoredit_jax.models.block import Block, FeedForward, dense
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.initialisation import (
    dense_init,
    modulation_init,
    small_normal_init,
)
from anchoredit_jax.models.kernels import attention_kernel
from anchoredit_jax.models.prompts import prompt_visibility
from anchoredit_jax.models.remat import rematerialised

Velocity = Float32[Array, "B T h w C"]
KeysValues = tuple[Float[Array, "layers B T L N H"], Float[Array, "layers B T L N H"]]


class Transformer(nn.Module):
    """Predicts the velocity of every frame (docs/method.md, Network)."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "B T h w C"],
        timesteps: Real[Array, "B T"],
        text: Float[Array, "B prompts S Dt"],
        *,
        visibility: FrameVisibility | None = None,
        positions: Real[Array, "_ T"] | None = None,
        past: MemoryView | None = None,
        source: bool = True,
        collect: bool = False,
    ) -> Velocity | tuple[Velocity, KeysValues]:
        """Velocity of T frames, with each frame's own timestep and prompt.

        Args:
          latents: noised.
          timesteps: in 0..1000 (1000 * sigma).
          text: the prompts, zero vectors after a prompt's end.
          visibility: which frames see which; causal by default. Teacher forcing takes
            the clean frames before the noisy ones along T.
          positions: temporal positions in frames, of each sample or of all; 0..T-1 by
            default, or the memory's next position.
          past: the memory's view; its frames are seen by all T.
          source: whether frame 0 is the session's source, which has no prompt of its
            own (then T - 1 prompts do, and frame i takes prompt i - 1); without it,
            frame i takes prompt i.
          collect: also give back what a memory stores.

        Returns:
          the velocity, and with `collect` (keys, values) of all layers.

        Raises:
          UserError: `config.attention` is a kernel that the device does not have.
        """
        if self.is_initializing():  # on any device, of a token that no mesh divides
            kernel = "dense"
        else:
            kernel = attention_kernel(self.config)
        config = dataclasses.replace(self.config, attention=kernel)
        visibility = visibility or FrameVisibility("causal")
        patch = config.patch
        height, width = latents.shape[2] // patch, latents.shape[3] // patch
        frames, prompts = latents.shape[1], (text.shape[1], text.shape[2])
        if positions is None:
            positions = _default_positions(frames, visibility, past)

        tokens = einops.rearrange(
            latents, "b t (h p) (w q) c -> b t (h w) (p q c)", p=patch, q=patch
        )
        x = dense(config.dim, config, "patch_embedding")(tokens.astype(config.dtype))
        context = FeedForward(config, config.dim, config.dim, name="text_embedding")(
            text.astype(config.dtype)
        )
        embedding, modulation = TimeEmbedding(config, name="time_embedding")(timesteps)

        def rotation_of(frames_at: Real[Array, "_ _"]) -> tuple[Array, Array]:
            stretched = frames_at.astype(jnp.float32) * config.temporal_stride
            return rope.rotations(
                stretched, height, width, config.head_dim, config.spatial_stride
            )

        past_kv = past_rotation = past_valid = None
        if past is not None:
            past_kv = (past.keys, past.values)
            past_rotation, past_valid = rotation_of(past.positions), past.valid
        x, kept = nn.scan(
            rematerialised(Block, config.remat),
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
            in_axes=(0, *[nn.broadcast] * 7),  # pyright: ignore[reportArgumentType]
            length=config.num_layers,
            unroll=config.scan_unroll,
        )(config, collect, name="blocks")(
            x,
            past_kv,
            modulation,
            context,
            rotation_of(positions),
            past_rotation,
            past_valid,
            visibility,
            prompt_visibility(config, frames, prompts, source, visibility),
        )
        if config.remat == "none":
            out = Head(config, name="head")(x, embedding)
        else:
            _, out = nn.scan(
                nn.remat(_HeadOfFrame, prevent_cse=False),
                variable_broadcast="params",
                split_rngs={"params": False},
                in_axes=1,
                out_axes=1,
            )(config, name="head")((), x, embedding)
        velocity = predicted = einops.rearrange(
            out,
            "b t (h w) (p q c) -> b t (h p) (w q) c",
            h=height,
            p=patch,
            q=patch,
        )
        if config.prediction == "x0":
            velocity = _velocity_of_x0(latents, predicted, timesteps)
        return (velocity, kept) if collect else velocity


class TimeEmbedding(nn.Module):
    """Sinusoid (cosines first) -> Linear, SiLU, Linear = e; SiLU, Linear = e0."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self, timesteps: Real[Array, "B T"]
    ) -> tuple[Float32[Array, "B T D"], Float32[Array, "B T 6 D"]]:
        """(e, e0) of each frame."""
        config = self.config
        half = config.freq_dim // 2
        freqs = 10000.0 ** (-np.arange(half, dtype=np.float64) / half)
        angle = rope.angles(timesteps, freqs)
        x = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)

        def linear(features: int, name: str, init: Callable) -> nn.Dense:
            return nn.Dense(features, dtype=jnp.float32, kernel_init=init, name=name)

        x = nn.silu(linear(config.dim, "fc1", small_normal_init)(x))
        embedding = linear(config.dim, "fc2", small_normal_init)(x)
        modulation = linear(6 * config.dim, "projection", dense_init)(
            nn.silu(embedding)
        )
        return embedding, modulation.reshape(*timesteps.shape, 6, config.dim)


class Head(nn.Module):
    """Modulated LayerNorm and the projection back to latent patches."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "*B L D"], embedding: Float32[Array, "*B D"]
    ) -> Float32[Array, "*B L out"]:
        """Patches of patch^2 * C values, from the tokens and e of each frame."""
        config = self.config
        learned = self.param("modulation", modulation_init, (2, config.dim))
        learned = learned.astype(jnp.float32)
        vectors = embedding[..., None, :] + learned.reshape(*[1] * (x.ndim - 2), 2, -1)
        x = norms.modulated_norm(
            x, vectors[..., 1:, :], vectors[..., :1, :], config.eps
        )
        features = config.patch**2 * config.channels
        return nn.Dense(
            features, dtype=jnp.float32, kernel_init=nn.initializers.zeros, name="out"
        )(x)


class _HeadOfFrame(Head):
    """The head as the body of a scan over frames."""

    def __call__(
        self, carry: tuple, x: Float[Array, "B L D"], embedding: Float32[Array, "B D"]
    ) -> tuple[tuple, Float32[Array, "B L out"]]:
        return carry, super().__call__(x, embedding)


def _velocity_of_x0(
    latents: Float[Array, "B T h w C"], x0: Velocity, timesteps: Real[Array, "B T"]
) -> Velocity:
    """Clean frames, whose velocity nobody reads, must not divide by zero."""
    sigma = jnp.maximum(timesteps / schedule.TIMESTEPS, 1e-3)
    return schedule.x0_to_velocity(latents.astype(jnp.float32), x0, sigma)


def _default_positions(
    frames: int, visibility: FrameVisibility, past: MemoryView | None
) -> Real[Array, "_ T"]:
    if past is not None:
        following = jnp.arange(frames, dtype=jnp.float32)[None]
        return past.next_position[:, None].astype(jnp.float32) + following
    if visibility.mode == "history_and_targets":
        return jnp.asarray(target_places(frames))[None]
    if visibility.mode == "teacher_forcing":  # both halves stand at the same places
        return jnp.tile(jnp.arange(frames // 2), 2)[None]
    return jnp.arange(frames)[None]
