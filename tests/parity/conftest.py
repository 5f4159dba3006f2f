"""Recorded numbers of the reference: golden/README.md says what they are.

See docs/method.md, Reference.
"""

import json
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from anchoredit_jax.models import TransformerConfig
from tests.convert.published import from_published

# Another folder may be named, such as the whole recording, as *.npz.
GOLDEN = Path(os.environ.get("ANCHOREDIT_GOLDEN", Path(__file__).parent / "golden"))


@pytest.fixture(scope="session")
def golden():
    """A function from a recording's name to (arrays, meta)."""
    return read_golden


def read_golden(name: str) -> tuple[dict[str, np.ndarray], dict]:
    whole, packed = GOLDEN / f"{name}.npz", GOLDEN / f"{name}.safetensors.xz"
    if whole.is_file():
        with np.load(whole) as file:
            arrays = {key: file[key] for key in file.files}
        return arrays, json.loads(str(arrays.pop("meta")))
    with lzma.open(packed) as file:
        arrays = safetensors.numpy.load(file.read())
    return arrays, json.loads(arrays.pop("meta").tobytes())


@pytest.fixture(scope="session")
def golden_params(golden):
    """Parameters of the recorded tiny transformer."""
    arrays, _ = golden("dit_weights")
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
