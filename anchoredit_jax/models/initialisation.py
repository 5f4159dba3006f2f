"""Initial values: Wan's own, and heads that start out looking at the same place."""

import jax
import numpy as np
from flax import linen as nn

from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.rope import axis_dims, frequencies

dense_init = nn.initializers.xavier_uniform()
small_normal_init = nn.initializers.normal(0.02)


def modulation_init(key, shape, dtype=np.float32):
    """Normal with variance 1 / D, as in Wan."""
    return jax.random.normal(key, shape, dtype) / np.sqrt(shape[-1])


def point_heads_at_same_place(params: dict, config: TransformerConfig) -> dict:
    """Let half of the self-attention heads begin as spatial copies.

    An editor mostly copies: the token at (row, column) of the new frame wants the token
    at (row, column) of earlier ones. The Wan geometry has no positional bias, but RoPE
    turns constant queries and keys into one: with equal constants in a channel pair of
    frequency f, the logit is amplitude^2 cos(f distance). We put such constants in the
    two fastest row and column pairs (two, so that the period of the fastest does not
    alias) through the bias of q and k and the gain of their norms. Of these heads every
    second one also prefers the frame just before, through a temporal pair whose query
    constant is turned by one frame. Training is free to undo all of it.

    Args:
      params: the transformer's parameters.

    Returns:
      the same tree with `self_attn` q, k and their norms replaced in all layers.
    """
    heads, head_dim = config.num_heads, config.head_dim
    frame_dim, row_dim, _ = axis_dims(head_dim)
    bias_q = np.zeros((heads, head_dim), np.float32)
    bias_k = np.zeros((heads, head_dim), np.float32)
    gain = np.ones((heads, head_dim), np.float32)
    shrink = np.ones((heads, head_dim), np.float32)
    strength = (8.0 * np.sqrt(head_dim)) ** 0.5  # logit of 8 per pair at distance 0
    for head in range(0, heads, 2):
        for start in (frame_dim, frame_dim + row_dim):
            for channel in (start, start + 2):
                bias_q[head, channel] = bias_k[head, channel] = 1.0
                gain[head, channel : channel + 2] = strength
                shrink[head, channel : channel + 2] = 0.1
        if head % 4 == 0:
            pair = 1
            turn = frequencies(frame_dim)[pair] * config.temporal_stride
            channels = slice(2 * pair, 2 * pair + 2)
            bias_q[head, channels] = np.cos(turn), -np.sin(turn)
            bias_k[head, channels] = 1.0, 0.0
            gain[head, channels] = strength / 2
            shrink[head, channels] = 0.1

    attention = params["blocks"]["self_attn"]

    def replaced(name, bias):
        kernel = attention[name]["kernel"] * shrink.reshape(1, 1, -1)
        flat = np.broadcast_to(bias.reshape(1, -1), attention[name]["bias"].shape)
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
