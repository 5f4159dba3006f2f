"""One transformer block of the Wan geometry (design 3.2)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import attention, norms, rope
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.initialisation import dense_init, modulation_init
from anchoredit_jax.models.remat import named_input


def dense(features: int, config: TransformerConfig, name: str) -> nn.Dense:
    """A linear layer: float32 parameters, products in the compute dtype."""
    return nn.Dense(features, dtype=config.dtype, kernel_init=dense_init, name=name)


class FeedForward(nn.Module):
    """Linear, GELU(tanh), Linear."""

    config: TransformerConfig
    hidden: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = dense(self.hidden, self.config, "fc1")(x)
        return dense(self.features, self.config, "fc2")(_gelu(x))


@jax.checkpoint  # its derivative needs x alone, not the five arrays made on the way
def _gelu(x):
    return nn.gelu(x, approximate=True)


class SelfAttention(nn.Module):
    """Self-attention over frames, beside a past or alone."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, rotation, visibility, past, past_rotation, past_valid):
        """x [B, T, L, D] -> (update [B, T, L, D], (keys, values) [B, T, L, N, H]).

        The keys given back are normalised and not rotated: what a memory stores.
        """
        config = self.config
        heads = (*x.shape[:-1], config.num_heads, config.head_dim)
        query = norms.RMSNorm(config.eps, name="norm_q")(
            dense(config.dim, config, "q")(x)
        )
        key = norms.RMSNorm(config.eps, name="norm_k")(
            dense(config.dim, config, "k")(x)
        )
        value = dense(config.dim, config, "v")(x).reshape(heads)
        query, key = query.reshape(heads), key.reshape(heads)
        if past is not None:
            past_keys, past_values = past
            past = attention.Past(
                rope.rotate(past_keys, *past_rotation), past_values, past_valid
            )
        out = attention.frame_attention(
            rope.rotate(query, *rotation),
            rope.rotate(key, *rotation),
            value,
            visibility,
            past,
            config.attention,
        )
        return dense(config.dim, config, "o")(out.reshape(x.shape)), (key, value)


class CrossAttention(nn.Module):
    """Attention of each frame to its prompt, batched per frame (design 3.3)."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, text, prompt_of_frame, mask):
        """x [B, T, L, D], text [B, N, S, D], prompt_of_frame [T, R] -> [B, T, L, D].

        R prompts are seen by a frame: one, or all so far (then masked).
        """
        config = self.config
        split = (config.num_heads, config.head_dim)
        query = norms.RMSNorm(config.eps, name="norm_q")(
            dense(config.dim, config, "q")(x)
        )
        key = norms.RMSNorm(config.eps, name="norm_k")(
            dense(config.dim, config, "k")(text)
        )
        value = dense(config.dim, config, "v")(text)
        out = attention.prompt_attention(
            query.reshape(*x.shape[:-1], *split),
            _per_frame(key, prompt_of_frame).reshape(*x.shape[:2], -1, *split),
            _per_frame(value, prompt_of_frame).reshape(*x.shape[:2], -1, *split),
            mask,
            config.attention,
        )
        return dense(config.dim, config, "o")(out.reshape(x.shape))


def _per_frame(prompts, prompt_of_frame):
    """[B, N, S, D] -> [B, T, R * S, D]."""
    batch, _, _, dim = prompts.shape
    frames = prompt_of_frame.shape[0]
    return prompts[:, prompt_of_frame].reshape(batch, frames, -1, dim)


class Block(nn.Module):
    """Self-attention, cross-attention and MLP with per-frame modulation."""

    config: TransformerConfig
    collect: bool

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        past: tuple[jax.Array, jax.Array] | None,
        modulation: jax.Array,
        text: jax.Array,
        rotation: tuple[jax.Array, jax.Array],
        past_rotation: tuple[jax.Array, jax.Array] | None,
        past_valid: jax.Array | None,
        visibility: FrameVisibility,
        prompts: tuple,
    ):
        """One block; `past` is this layer's part of the memory, the rest is shared.

        Args:
          x: [B, T, L, D].
          past: (keys, values) [B, P, L, N, H], not rotated, or None.
          modulation: e0, float32 [B, T, 6, D].
          text: [B, N, S, D].
          rotation, past_rotation: (cos, sin) of `rope.rotations`.
          past_valid: bool [B, P].
          prompts: (prompt_of_frame int [T, R], mask bool [T, R * S] or None).

        Returns:
          (x, (keys, values) of the T frames, or None unless `collect`).
        """
        config = self.config
        x = nn.with_logical_constraint(x, ("batch", "frame", "token", "embed"))
        x = named_input(x)
        learned = self.param("modulation", modulation_init, (6, config.dim))
        vectors = modulation + learned[None, None].astype(jnp.float32)
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            vectors[:, :, i : i + 1] for i in range(6)
        )
        compute = functools.partial(jnp.asarray, dtype=config.dtype)

        normed = norms.modulated_norm(x, scale1, shift1, config.eps)
        update, kept = SelfAttention(config, name="self_attn")(
            compute(normed), rotation, visibility, past, past_rotation, past_valid
        )
        x = norms.gated_residual(x, gate1, update)

        normed = norms.AffineLayerNorm(config.eps, name="norm_cross")(x)
        x = x + CrossAttention(config, name="cross_attn")(normed, text, *prompts)

        normed = norms.modulated_norm(x, scale2, shift2, config.eps)
        update = FeedForward(config, config.ffn_dim, config.dim, name="ffn")(
            compute(normed)
        )
        x = norms.gated_residual(x, gate2, update)
        return x, kept if self.collect else None
