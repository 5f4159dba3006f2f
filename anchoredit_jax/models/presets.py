"""The sizes this product knows, as a table."""

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.config import TransformerConfig

_WAN = dict(channels=16, text_dim=4096, freq_dim=256)

PRESETS: dict[str, dict] = {
    # A laptop trains it in half an hour: 32 px sprites, 64 tokens a frame.
    "tiny": dict(
        dim=192,
        ffn_dim=384,
        num_heads=6,
        num_layers=4,
        channels=16,
        text_dim=64,
        freq_dim=64,
        scan_unroll=4,
        init="same_place",
        spatial_stride=0.6,
        prediction="x0",
        source_prompt="first_token",
    ),
    "wan_1_3b": dict(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30, **_WAN),
    "wan_14b": dict(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40, **_WAN),
}


def make_config(name: str, **overrides) -> TransformerConfig:
    """The preset `name`, with single fields replaced.

    Raises:
      UserError: for an unknown preset.
    """
    if name not in PRESETS:
        raise UserError(f"unknown model size {name!r}; known: {', '.join(PRESETS)}")
    return TransformerConfig(**{**PRESETS[name], **overrides})
