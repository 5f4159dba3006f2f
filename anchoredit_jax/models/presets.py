"""The sizes this product knows, and how published weights of them edit, as tables."""

from typing import Any

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

# What Wan's weights do not tell, by size. `side`: of the square whose area images have,
# pixels; Wan was made for films of 480p (1.3B) and 720p (14B), this product trains both
# on still images of a megapixel. `sampler`: the defaults of Wan's authors. `memory`:
# what `configs/wan.py` trains for.
_WAN_EDITING = dict(
    side=1024,
    dtype="bfloat16",
    sampler=dict(kind="euler", steps=50, shift=5.0, guidance=5.0),
    memory=dict(sink=1, window=4, positions="window_relative"),
)
EDITING: dict[str, dict] = {"wan_1_3b": _WAN_EDITING, "wan_14b": _WAN_EDITING}
UNKNOWN_EDITING = _WAN_EDITING  # of a geometry that is none of these

# A training checkpoint of the reference differs in these, whatever its size: its
# generator was distilled to the grid points 1000 to 250 of shift 1, without guidance,
# and keeps every frame at its own place.
REFERENCE_EDITING = dict(
    sampler=dict(
        kind="few_step", steps=4, shift=1.0, timesteps=(1000.0, 750.0, 500.0, 250.0)
    ),
    memory=dict(sink=1, window=None, positions="absolute"),
)

# Fields that the shapes of the weights show; the number of heads no shape shows.
_SHAPES = ("dim", "ffn_dim", "num_layers", "channels", "text_dim", "freq_dim")


def make_config(name: str, **overrides: Any) -> TransformerConfig:
    """The preset `name`, with single fields replaced.

    Raises:
      UserError: for an unknown preset.
    """
    if name not in PRESETS:
        raise UserError(f"unknown model size {name!r}; known: {', '.join(PRESETS)}")
    return TransformerConfig(**{**PRESETS[name], **overrides})


def preset_of_shapes(sizes: dict) -> str | None:
    """The preset of weights with these sizes, by name of the config's field; the number
    of heads counts where it is given."""
    for name, preset in PRESETS.items():
        same = all(preset[size] == sizes[size] for size in _SHAPES)
        if same and sizes.get("num_heads", preset["num_heads"]) == preset["num_heads"]:
            return name
    return None
