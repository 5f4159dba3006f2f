"""Recorded numbers of the reference, where they are present.

See docs/method.md, Reference.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from anchoredit_jax.models import TransformerConfig
from tests.convert.published import from_published

GOLDEN = Path(
    os.environ.get("ANCHOREDIT_GOLDEN", Path(__file__).parents[3] / "shared" / "golden")
)


@pytest.fixture(scope="session")
def golden():
    """A function from a golden file's name to (arrays, meta)."""
    if not GOLDEN.is_dir():
        if "ANCHOREDIT_GOLDEN" in os.environ:
            pytest.fail(f"ANCHOREDIT_GOLDEN names no folder: {GOLDEN}")
        pytest.skip(f"no recorded reference numbers at {GOLDEN} (ANCHOREDIT_GOLDEN)")

    def load(name):
        with np.load(GOLDEN / name) as file:
            arrays = {key: file[key] for key in file.files}
        return arrays, json.loads(str(arrays.pop("meta")))

    return load


@pytest.fixture(scope="session")
def golden_params(golden):
    """Parameters of the recorded tiny transformer."""
    arrays, _ = golden("dit_weights.npz")
    tensors = {key.removeprefix("w/"): value for key, value in arrays.items()}
    return from_published("transformer", tensors, golden_config())


def golden_config(**changes) -> TransformerConfig:
    """The recorded tiny transformer's geometry."""
    return TransformerConfig(
        dim=64, ffn_dim=96, num_heads=2, num_layers=2, text_dim=32, freq_dim=32,
        **{"source_prompt": "first_token", **changes},
    )  # fmt: skip


def channels_last(latents):
    """[..., C, H, W] -> [..., H, W, C]."""
    return np.moveaxis(latents, -3, -1)


def padded_prompts(tokens, length=512):
    """[..., 12, D] -> [..., length, D], zero vectors after the end."""
    widths = [(0, 0)] * tokens.ndim
    widths[-2] = (0, length - tokens.shape[-2])
    return np.pad(tokens, widths)
