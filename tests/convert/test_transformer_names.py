"""The transformer's published names: both ways, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.convert import transformer_names
from anchoredit_jax.errors import UserError
from anchoredit_jax.models import TransformerConfig
from anchoredit_jax.testing import tiny_model

CONFIG = tiny_model()
WAN, DIFFUSERS = transformer_names.DIALECTS


def random_tensors(dialect, dtype=np.float32, config=CONFIG):
    rng = np.random.default_rng(0)
    shapes = transformer_names.published_shapes(dialect, config)
    return {n: rng.normal(size=shape).astype(dtype) for n, shape in shapes.items()}


@pytest.mark.parametrize("dialect", transformer_names.DIALECTS)
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_there_and_back_is_the_same_bit_for_bit(dialect, patch):
    config = tiny_model(patch=patch)
    for dtype in (np.float32, jnp.bfloat16):
        tensors = random_tensors(dialect, dtype, config)
        assert tensors["patch_embedding.weight"].shape == (32, 4, 1, patch, patch)
        params = transformer_names.from_published(tensors, config)
        back = transformer_names.to_published(params, dialect, config)
        assert back.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert back[name].dtype == tensor.dtype
            np.testing.assert_array_equal(back[name], tensor)


def test_the_two_dialects_name_the_same_tensors():
    params = transformer_names.from_published(random_tensors(WAN), CONFIG)
    theirs = transformer_names.to_published(params, DIFFUSERS, CONFIG)
    assert transformer_names.name_map().dialect_of(theirs) == DIFFUSERS
    again = transformer_names.from_published(theirs, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    # Maps of one shape are kept apart by their names only.
    key = theirs["blocks.1.attn2.to_k.weight"]
    np.testing.assert_array_equal(
        params["blocks"]["cross_attn"]["k"]["kernel"][1], key.T
    )


@pytest.mark.parametrize("dialect", transformer_names.DIALECTS)
def test_wrong_weights_are_refused_in_one_line(dialect):
    tensors = random_tensors(dialect)
    first = next(name for name in tensors if name.startswith("blocks.1."))
    broken = {k: v for k, v in tensors.items() if k != first} | {
        "img_emb": tensors[first]
    }
    with pytest.raises(UserError) as raised:
        transformer_names.from_published(broken, CONFIG)
    said = str(raised.value)
    assert f"missing: {first}; unexpected: img_emb" in said and "\n" not in said
    wide = TransformerConfig(**{**vars(CONFIG), "ffn_dim": 48})
    with pytest.raises(UserError, match=re.escape("[32, 32], expected [48, 32]")):
        transformer_names.from_published(tensors, wide)


def test_other_networks_are_refused():
    with pytest.raises(UserError, match="not those of a Wan transformer.*found a.b"):
        transformer_names.from_published({"a.b": np.zeros(3)}, CONFIG)
    params = transformer_names.from_published(random_tensors(WAN), CONFIG)
    with pytest.raises(UserError, match="dialect must be one of"):
        transformer_names.to_published(params, "flax", CONFIG)
