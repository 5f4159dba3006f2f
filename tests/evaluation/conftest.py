"""A tiny editor, and the sprite sessions of the data's tests."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.encoders import make_codec, make_text_encoder
from anchoredit_jax.models.codec import CodecConfig
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.text import TextConfig
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.parallel import make_mesh
from tests.data.conftest import (  # noqa: F401  (fixtures)
    perfect,
    perfect_stories,
    sessions,
    stories,
)

MODEL = TransformerConfig(
    dim=32, ffn_dim=32, num_heads=2, num_layers=2, channels=16, text_dim=8, freq_dim=8
)


@pytest.fixture(scope="session")
def tiny_editor():
    """A random network of 2 layers behind the attributes of an `Editor`."""
    codec = make_codec(CodecConfig())
    text = make_text_encoder(TextConfig(length=16, dim=8))
    shapes = jax.eval_shape(
        Transformer(MODEL).init,
        jax.random.key(0),
        jnp.zeros((1, 2, 4, 4, 16)),
        jnp.zeros((1, 2)),
        jnp.zeros((1, 1, 16, 8)),
    )["params"]
    # Drawn by numpy (no compilation), and larger than at the start of training, so
    # that all inputs matter.
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes
    )
    return types.SimpleNamespace(
        run=types.SimpleNamespace(model=MODEL),
        params=params,
        codec=codec,
        text=text,
        lineage=None,
        mesh=make_mesh(),
    )
