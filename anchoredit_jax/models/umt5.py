"""The UMT5 encoder, the text encoder of Wan 2.1: token ids to hidden states.

T5 with a table of relative positions in every layer (in T5 one is shared), RMS norms
before attention and MLP, no biases, no scaling of the attention logits, and an MLP
gated by GELU(tanh).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from anchoredit_jax.arrays import Array, Bool, Float, Float32, Int
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.norms import RMSNorm
from anchoredit_jax.strict import Bounded, geometry


@dataclasses.dataclass(frozen=True)
class Umt5Config(Bounded):
    """Sizes and numerics of a UMT5 encoder.

    Attributes:
      vocabulary: rows of the token embedding; a tokenizer may use fewer.
      dim: width D of the hidden states.
      attention_dim: width of queries, keys and values, all heads together.
      ffn_dim: hidden width of the MLP.
      num_heads, num_layers: heads N, blocks.
      num_buckets: how many relative positions are told apart, half for each direction.
      max_distance: in tokens; from here on all distances share the last bucket.
      eps: of every norm.
      dtype: compute dtype of matrix products. The residual stream, norms, attention
        logits and softmax are float32; parameters keep the dtype they are given in.
    """

    vocabulary: int = geometry(within="[1, 1e7]")
    dim: int = geometry(within="[1, 65536]")
    attention_dim: int = geometry(within="[1, 65536]")
    ffn_dim: int = geometry(within="[1, 1e8]")
    num_heads: int = geometry(within="[1, 1024]")
    num_layers: int = geometry(within="[1, 1024]")
    num_buckets: int = geometry(32, within="[1, 1e6]")
    max_distance: int = geometry(128, within="[1, 1e6]")
    eps: float = geometry(1e-6, within="(0, 1]")
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention_dim % self.num_heads:
            raise UserError(
                f"attention_dim {self.attention_dim} must split into {self.num_heads} "
                "heads"
            )
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(
                f"the text encoder's dtype must be float32 or bfloat16, given "
                f"{self.dtype!r}"
            )

    @property
    def head_dim(self) -> int:
        return self.attention_dim // self.num_heads


UMT5_SIZES: dict[str, dict] = {
    "umt5_tiny": dict(
        vocabulary=384,
        dim=32,
        attention_dim=32,
        ffn_dim=48,
        num_heads=4,
        num_layers=2,
    ),
    "umt5_xxl": dict(
        vocabulary=256384,
        dim=4096,
        attention_dim=4096,
        ffn_dim=10240,
        num_heads=64,
        num_layers=24,
    ),
}


def make_umt5_config(size: str, **overrides: Any) -> Umt5Config:
    """The size by its name, with single fields replaced.

    Raises:
      UserError: for an unknown size.
    """
    if size not in UMT5_SIZES:
        raise UserError(
            f"unknown size of text encoder {size!r}; known: {', '.join(UMT5_SIZES)}"
        )
    return Umt5Config(**{**UMT5_SIZES[size], **overrides})


class Umt5Encoder(nn.Module):
    """Token embedding, blocks, final norm."""

    config: Umt5Config

    @nn.compact
    def __call__(
        self, ids: Int[Array, "B S"], mask: Bool[Array, "B S"], collect: bool = False
    ) -> Any:
        """Hidden states of S tokens, padding included.

        Args:
          ids: each below `config.vocabulary`.
          mask: False where a token is padding: no token sees it.
          collect: also give back what every block gives out.

        Returns:
          float32 [B, S, D], and with `collect` the blocks' [layers, B, S, D].
        """
        config = self.config
        shape = (config.vocabulary, config.dim)
        table = self.param("token_embedding", nn.initializers.normal(1.0), shape)
        x = table[ids].astype(jnp.float32)
        # [query, key]: where a key stands, seen from the query.
        offsets = np.arange(ids.shape[1])
        buckets = position_buckets(
            offsets[None] - offsets[:, None], config.num_buckets, config.max_distance
        )
        x, outputs = nn.scan(
            Umt5Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast),  # pyright: ignore[reportArgumentType]
            length=config.num_layers,
        )(config, collect, name="blocks")(x, mask, jnp.asarray(buckets))
        x = RMSNorm(config.eps, name="norm")(x)
        return (x, outputs) if collect else x


class Umt5Block(nn.Module):
    """Self-attention with relative positions, then the gated MLP."""

    config: Umt5Config
    collect: bool

    @nn.compact
    def __call__(
        self,
        x: Float32[Array, "B S D"],
        mask: Bool[Array, "B S"],
        buckets: Int[Array, "S S"],
    ) -> tuple[Float32[Array, "B S D"], Float32[Array, "B S D"] | None]:
        config = self.config
        normed = RMSNorm(config.eps, name="norm1")(x).astype(config.dtype)
        update = Umt5Attention(config, name="attn")(normed, mask, buckets)
        x = x + update.astype(jnp.float32)
        normed = RMSNorm(config.eps, name="norm2")(x).astype(config.dtype)
        update = Umt5FeedForward(config, name="ffn")(normed)
        x = x + update.astype(jnp.float32)
        return x, x if self.collect else None


class Umt5Attention(nn.Module):
    """Attention whose logits are products plus a learned value per distance."""

    config: Umt5Config

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B S D"],
        mask: Bool[Array, "B S"],
        buckets: Int[Array, "S S"],
    ) -> Float[Array, "B S D"]:
        config = self.config
        wide, dim, heads = config.attention_dim, config.dim, config.num_heads
        split = (*x.shape[:2], heads, config.head_dim)
        # Logits are not divided by sqrt(H): the queries' initial values are smaller.
        query = _dense(wide, config, (dim * config.head_dim) ** -0.5, "q")(x)
        key = _dense(wide, config, dim**-0.5, "k")(x).reshape(split)
        value = _dense(wide, config, dim**-0.5, "v")(x).reshape(split)
        table = self.param(
            "position_table",
            nn.initializers.normal((2 * config.num_buckets * heads) ** -0.5),
            (config.num_buckets, heads),
        )
        bias = table.astype(jnp.float32).T[:, buckets]
        logits = jnp.einsum(
            "bqnh,bknh->bnqk",
            query.reshape(split),
            key,
            preferred_element_type=jnp.float32,
        )
        lowest = jnp.finfo(jnp.float32).min
        logits = jnp.where(mask[:, None, None], logits + bias[None], lowest)
        weights = jax.nn.softmax(logits, axis=-1).astype(x.dtype)
        out = jnp.einsum("bnqk,bknh->bqnh", weights, value)
        return _dense(dim, config, wide**-0.5, "o")(out.reshape(*x.shape[:2], wide))


class Umt5FeedForward(nn.Module):
    """The gated MLP: Linear(GELU(tanh)(gate(x)) * Linear(x))."""

    config: Umt5Config

    @nn.compact
    def __call__(self, x: Float[Array, "B S D"]) -> Float[Array, "B S D"]:
        config = self.config
        std = config.dim**-0.5
        gate = nn.gelu(_dense(config.ffn_dim, config, std, "gate")(x), approximate=True)
        x = gate * _dense(config.ffn_dim, config, std, "fc1")(x)
        return _dense(config.dim, config, config.ffn_dim**-0.5, "fc2")(x)


def position_buckets(
    offsets: np.ndarray, num_buckets: int = 32, max_distance: int = 128
) -> np.ndarray:
    """Buckets of relative positions, of any shape.

    One half of the buckets is for keys at or before the query, the other for keys after
    it. In each, the nearer half of the buckets holds one distance each, the others grow
    with the distance's logarithm up to `max_distance` (T5, arXiv 1910.10683).

    Args:
      offsets: int, the key's place minus the query's.

    Returns:
      int32 in [0, num_buckets).
    """
    half = num_buckets // 2
    exact = half // 2
    distance = np.abs(offsets)
    # Edges as float32: published weights were trained with its rounding.
    growth = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    steps = growth / np.float32(np.log(max_distance / exact)) * np.float32(half - exact)
    far = np.minimum(exact + steps.astype(np.int32), half - 1)
    buckets = np.where(distance < exact, distance, far) + half * (offsets > 0)
    return buckets.astype(np.int32)


def _dense(features: int, config: Umt5Config, std: float, name: str) -> nn.Dense:
    init = nn.initializers.normal(std)
    return nn.Dense(
        features, use_bias=False, dtype=config.dtype, kernel_init=init, name=name
    )
