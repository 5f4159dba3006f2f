"""The transformer's published names: both ways, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.convert.name_map import DIALECTS
from anchoredit_jax.convert.networks import NETWORKS, recognise
from anchoredit_jax.errors import UserError
from anchoredit_jax.models import TransformerConfig
from anchoredit_jax.testing import tiny_model
from tests.convert.published import from_published, to_published

CONFIG = tiny_model()
WAN, DIFFUSERS = DIALECTS


def random_tensors(dialect, dtype=np.float32, config=CONFIG):
    rng = np.random.default_rng(0)
    shapes = NETWORKS["transformer"].shapes(dialect, config)
    return {n: rng.normal(size=shape).astype(dtype) for n, shape in shapes.items()}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_there_and_back_is_the_same_bit_for_bit(dialect, patch):
    config = tiny_model(patch=patch)
    for dtype in (np.float32, jnp.bfloat16):
        tensors = random_tensors(dialect, dtype, config)
        assert tensors["patch_embedding.weight"].shape == (32, 4, 1, patch, patch)
        params = from_published("transformer", tensors, config)
        back = to_published("transformer", params, dialect, config)
        assert back.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert back[name].dtype == tensor.dtype
            np.testing.assert_array_equal(back[name], tensor)


def test_the_two_dialects_name_the_same_tensors():
    params = from_published("transformer", random_tensors(WAN), CONFIG)
    theirs = to_published("transformer", params, DIFFUSERS, CONFIG)
    assert recognise(theirs)[1] == DIFFUSERS
    again = from_published("transformer", theirs, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    # Maps of one shape are kept apart by their names only.
    key = theirs["blocks.1.attn2.to_k.weight"]
    np.testing.assert_array_equal(
        params["blocks"]["cross_attn"]["k"]["kernel"][1], key.T
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_wrong_weights_are_refused_in_one_line(dialect):
    tensors = random_tensors(dialect)
    first = next(name for name in tensors if name.startswith("blocks.1."))
    broken = {k: v for k, v in tensors.items() if k != first} | {
        "img_emb": tensors[first]
    }
    with pytest.raises(UserError) as raised:
        from_published("transformer", broken, CONFIG)
    said = str(raised.value)
    assert f"missing: {first}; unexpected: img_emb" in said and "\n" not in said
    wide = TransformerConfig(**{**vars(CONFIG), "ffn_dim": 48})
    with pytest.raises(UserError, match=re.escape("[32, 32], expected [48, 32]")):
        from_published("transformer", tensors, wide)


def test_other_networks_are_refused():
    with pytest.raises(
        UserError, match="not the weights of a Wan transformer.*found a.b"
    ):
        from_published("transformer", {"a.b": np.zeros(3)}, CONFIG)
    params = from_published("transformer", random_tensors(WAN), CONFIG)
    with pytest.raises(UserError, match="dialect must be one of"):
        to_published("transformer", params, "flax", CONFIG)
