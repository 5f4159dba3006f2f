"""Initial values: Wan's own, and heads that start out looking at the same place."""

from typing import Any

import jax
import numpy as np
from flax import linen as nn

from anchoredit_jax.arrays import Array, Float, Key
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.rope import axis_dims, frequencies

dense_init = nn.initializers.xavier_uniform()
CONSTANT = 16.0  # of same-place queries and keys; their content has an RMS of one
# Temporal pair, and the distance in frames that it likes best. The slower the pair, the
# farther it tells distances apart.
BEFORE, OLDEST = (1, 1), (2, 12)
small_normal_init = nn.initializers.normal(0.02)


def modulation_init(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = np.float32
) -> Float[Array, "..."]:
    """Normal with variance 1 / D, as in Wan."""
    return jax.random.normal(key, shape, dtype) / np.sqrt(shape[-1])


def point_heads_at_same_place(params: dict, config: TransformerConfig) -> dict:
    """Let half of the self-attention heads begin as spatial copies.

    An editor mostly copies: the token at (row, column) of the new frame wants the token
    at (row, column) of earlier ones. The Wan geometry has no positional bias, but RoPE
    turns constant queries and keys into one: with equal constants in a channel pair of
    frequency f, the logit is amplitude^2 cos(f distance). We put such constants in the
    two fastest row and column pairs (two, so that the period of the fastest does not
    alias) through the bias of q and k and the gain of their norms. A temporal pair
    whose query constant is turned adds a preference in time: half of these heads look
    at the frame just before, the others at the oldest, which is the anchor. Training is
    free to undo all of it.

    Args:
      params: the transformer's parameters.

    Returns:
      the same tree with `self_attn` q, k and their norms replaced in all layers.
    """
    heads, head_dim = config.num_heads, config.head_dim
    frame_dim, row_dim, _ = axis_dims(head_dim)
    bias_q = np.zeros((heads, head_dim), np.float32)
    bias_k = np.zeros((heads, head_dim), np.float32)
    amplitude = np.ones((heads, head_dim), np.float32)
    shrink = np.ones((heads, head_dim), np.float32)
    strength = (14.0 * np.sqrt(head_dim)) ** 0.5  # logit of 14 per pair at distance 0
    # A shorter stride turns neighbours less; longer vectors make up for it.
    stride = min(config.spatial_stride, 1.0)
    spatial = strength * np.sqrt((1 - np.cos(1.0)) / (1 - np.cos(stride)))
    for head in range(0, heads, 2):
        for start in (frame_dim, frame_dim + row_dim):
            for channel in (start, start + 2):
                bias_q[head, channel] = bias_k[head, channel] = 1.0
                amplitude[head, channel : channel + 2] = spatial
                shrink[head, channel : channel + 2] = 0.1
        pair, distance = BEFORE if head in _copiers(config) else OLDEST
        turn = distance * frequencies(frame_dim)[pair] * config.temporal_stride
        channels = slice(2 * pair, 2 * pair + 2)
        bias_q[head, channels] = np.cos(turn), -np.sin(turn)
        bias_k[head, channels] = 1.0, 0.0
        amplitude[head, channels] = strength
        shrink[head, channels] = 0.1
    # The norms of q and k span all heads: constants far above the content keep their
    # length, whatever the content; the gains then undo both.
    rms = np.sqrt((CONSTANT**2 * np.sum(bias_k**2) + bias_k.size) / bias_k.size)
    gain = amplitude * rms / np.where(shrink < 1, CONSTANT, 1.0)

    attention = params["blocks"]["self_attn"]

    def replaced(name: str, bias: np.ndarray) -> dict[str, Array]:
        kernel = attention[name]["kernel"] * shrink.reshape(1, 1, -1)
        flat = CONSTANT * bias.reshape(1, -1)
        flat = np.broadcast_to(flat, attention[name]["bias"].shape)
        return {"kernel": kernel, "bias": jax.numpy.asarray(flat)}

    scale = np.broadcast_to(gain.reshape(1, -1), attention["norm_q"]["scale"].shape)
    attention = {
        **attention,
        "q": replaced("q", bias_q),
        "k": replaced("k", bias_k),
        "norm_q": {"scale": jax.numpy.array(scale)},
        "norm_k": {"scale": jax.numpy.array(scale)},
    }
    return {**params, "blocks": {**params["blocks"], "self_attn": attention}}


def start_as_copier(
    params: dict, key: Key[Array, ""], config: TransformerConfig
) -> dict:
    """Let the untrained network show the frame before: v = noise - (its latents).

    Knowing where to look is half of copying; from Wan's initial values it takes
    hundreds of steps until values, gate and head hand the content on. Here the patch
    embedding writes a rotation of the token into the first channels only, block 0's
    heads that look at the frame before move those into the next ones through a gate of
    1, and the head subtracts one from the other.

    Args:
      params: the transformer's parameters, after `point_heads_at_same_place`.
      key: what the rotation is drawn from.
    """
    copiers, head_dim = _copiers(config), config.head_dim
    width = len(copiers) * head_dim
    if 2 * width > config.dim:
        return params  # a single head: no room beside the token
    blocks, embedding = params["blocks"], params["patch_embedding"]["kernel"]
    attention, gates = blocks["self_attn"], blocks["modulation"]
    value, out = attention["v"]["kernel"], attention["o"]["kernel"]
    for number, head in enumerate(copiers):
        read = np.arange(number * head_dim, (number + 1) * head_dim)
        channels = np.arange(head * head_dim, (head + 1) * head_dim)
        value = value.at[0, :, channels].set(0.0).at[0, read, channels].set(1.0)
        out = out.at[0, channels].set(0.0).at[0, channels, width + read].set(1.0)
        gates = gates.at[0, 2, width + read].set(1.0)
    rotation = nn.initializers.orthogonal()(key, (embedding.shape[0], width))
    # LayerNorm scales a token that fills `share` of the channels by 1 / sqrt(share);
    # then token and copy together have a variance of share + 1.
    share = width / config.dim
    read_token = np.sqrt(share + 1) * rotation.T
    head = jax.numpy.zeros_like(params["head"]["out"]["kernel"])
    if config.prediction == "velocity":
        head = head.at[:width].set(read_token)
    sign = 1.0 if config.prediction == "x0" else -1.0
    head = head.at[width : 2 * width].set(sign * np.sqrt(share) * read_token)
    attention = {
        **attention,
        "v": {**attention["v"], "kernel": value},
        "o": {**attention["o"], "kernel": out},
    }
    embedding = jax.numpy.zeros_like(embedding).at[:, :width].set(rotation)
    return {
        **params,
        "patch_embedding": {**params["patch_embedding"], "kernel": embedding},
        "head": {**params["head"], "out": {**params["head"]["out"], "kernel": head}},
        "blocks": {**blocks, "self_attn": attention, "modulation": gates},
    }


def _copiers(config: TransformerConfig) -> range:
    """The same-place heads that prefer the frame just before, not the oldest."""
    return range(0, config.num_heads, 4)
