"""One transformer block of the Wan geometry (docs/method.md, Network)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from anchoredit_jax.arrays import Array, Bool, Float, Float32, Int
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import attention, norms, rope
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.initialisation import dense_init, modulation_init
from anchoredit_jax.models.remat import named_input


def dense(features: int, config: TransformerConfig, name: str) -> nn.Dense:
    """A linear layer: float32 parameters, products in the compute dtype."""
    return nn.Dense(features, dtype=config.dtype, kernel_init=dense_init, name=name)


Rotation = tuple[Float32[Array, "_ T L 1 half"], Float32[Array, "_ T L 1 half"]]
KeysValues = tuple[Float[Array, "B T L N H"], Float[Array, "B T L N H"]]
Past = tuple[Float[Array, "B P L N H"], Float[Array, "B P L N H"]]
PastRotation = tuple[Float32[Array, "B P L 1 half"], Float32[Array, "B P L 1 half"]]


class FeedForward(nn.Module):
    """An MLP of two layers: Linear, GELU(tanh), Linear."""

    config: TransformerConfig
    hidden: int
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "*B X"]) -> Float[Array, "*B D"]:
        x = dense(self.hidden, self.config, "fc1")(x)
        return dense(self.features, self.config, "fc2")(_gelu(x))


@jax.checkpoint  # its derivative needs x alone, not the five arrays made on the way
def _gelu(x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    return nn.gelu(x, approximate=True)


class SelfAttention(nn.Module):
    """Self-attention over frames, beside a past or alone."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T L D"],
        rotation: Rotation,
        visibility: FrameVisibility,
        past: Past | None,
        past_rotation: PastRotation | None,
        past_valid: Bool[Array, "B P"] | None,
    ) -> tuple[Float[Array, "B T L D"], KeysValues]:
        """(update, (keys, values)); these keys are normalised and not rotated: what a
        memory stores."""
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
        beside = None
        if past is not None and past_rotation is not None and past_valid is not None:
            past_keys, past_values = past
            beside = attention.Past(
                rope.rotate(past_keys, *past_rotation), past_values, past_valid
            )
        out = attention.frame_attention(
            rope.rotate(query, *rotation),
            rope.rotate(key, *rotation),
            value,
            visibility,
            beside,
            config.attention,
        )
        return dense(config.dim, config, "o")(out.reshape(x.shape)), (key, value)


class CrossAttention(nn.Module):
    """Attention of each frame to its prompt, batched per frame.

    See docs/method.md, Instructions.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T L D"],
        text: Float[Array, "B prompts S D"],
        prompt_of_frame: Int[Array, "T R"],
        mask: Bool[Array, "T seen"] | None,
    ) -> Float[Array, "B T L D"]:
        """The update; a frame sees R prompts, one or all so far (then masked)."""
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


def _per_frame(
    prompts: Float[Array, "B prompts S D"], prompt_of_frame: Int[Array, "T R"]
) -> Float[Array, "B T seen D"]:
    """The tokens that each frame sees."""
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
        x: Float[Array, "B T L D"],
        past: Past | None,
        modulation: Float32[Array, "B T 6 D"],
        text: Float[Array, "B prompts S D"],
        rotation: Rotation,
        past_rotation: PastRotation | None,
        past_valid: Bool[Array, "B P"] | None,
        visibility: FrameVisibility,
        prompts: tuple[Int[Array, "T R"], Bool[Array, "T seen"] | None],
    ) -> tuple[Float[Array, "B T L D"], KeysValues | None]:
        """Apply the block; `past` is its layer's part of the memory, all else shared.

        Args:
          x: tokens of T frames.
          past: (keys, values), not rotated, or None.
          modulation: e0.
          text: embedded prompts.
          rotation, past_rotation: (cos, sin) of `rope.rotations`.
          past_valid: which of the P frames a sample has.
          visibility: which of the T frames see which.
          prompts: those of each frame, and which of their tokens it sees.

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
