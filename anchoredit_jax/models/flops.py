"""Operations of the transformer's matrix products, counted from its sizes."""

from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.config import TransformerConfig


def forward_flops(
    config: TransformerConfig,
    *,
    frames: int,
    tokens: int,
    prompts: int,
    text_tokens: int,
    visibility: FrameVisibility,
    past: int = 0,
    which: str = "most",
) -> dict[str, float]:
    """Multiplications and additions of one sample's forward pass, by part.

    A product [m, k] x [k, n] counts 2 m k n. Attention counts what is visible, so
    causal sequences have their discount; elementwise work, a few per cent at real
    sizes, is not counted. Backward is twice the forward.

    Args:
      frames: T, of the sequence.
      tokens: L, of a frame.
      prompts: N, each of `text_tokens` tokens.
      visibility: the rule; its choices count by `which`.
      past: P, remembered frames beside them that all T see.
      which: the choice that sees "most", or the "mean" over choices.

    Returns:
      "linear" (of image tokens), "attention", "prompts" (their keys, values and
      attention to them), "embedding" (of the prompts, the same whatever the image and
      the noise level) and "rest" (patches, head, time embedding).
    """
    dim, all_tokens = config.dim, frames * tokens
    pairs = (visibility.pairs(frames, which) + frames * past) * tokens**2
    seen = text_tokens * (prompts if config.text_visibility == "so_far" else 1)
    # Self-attention has four matrices over the image, cross-attention two.
    linear = 2 * all_tokens * dim * (6 * dim + 2 * config.ffn_dim)
    of_prompts = 2 * prompts * text_tokens * 2 * dim * dim + 4 * all_tokens * seen * dim
    embedding = 2 * prompts * text_tokens * (config.text_dim * dim + dim * dim)
    patches = 2 * 2 * all_tokens * config.patch**2 * config.channels * dim
    times = 2 * frames * (config.freq_dim * dim + 7 * dim * dim)
    return {
        "linear": config.num_layers * linear,
        "attention": config.num_layers * 4 * pairs * dim,
        "prompts": config.num_layers * of_prompts,
        "embedding": embedding,
        "rest": patches + times,
    }
