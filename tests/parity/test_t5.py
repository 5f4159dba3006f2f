"""The recorded UMT5 encoder: buckets of positions, every block, final embeddings."""

import json

import jax
import numpy as np
import pytest

from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.models.umt5 import (
    Umt5Config,
    Umt5Encoder,
    make_umt5_config,
    position_buckets,
)
from anchoredit_jax.models.umt5_text import embed_prompts
from tests.convert.published import from_published, to_published

from .conftest import GOLDEN

TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def recorded(golden):
    """(arrays but the weights, config, parameters)."""
    arrays, meta = golden("t5")
    assert not meta["shared_pos"]  # one table per layer, the only kind there is here
    config = Umt5Config(
        vocabulary=meta["vocab"],
        dim=meta["dim"],
        attention_dim=meta["dim_attn"],
        ffn_dim=meta["dim_ffn"],
        num_heads=meta["num_heads"],
        num_layers=meta["num_layers"],
        num_buckets=meta["num_buckets"],
    )
    tensors = {
        key.removeprefix("w/"): arrays.pop(key)
        for key in list(arrays)
        if key.startswith("w/")
    }
    return arrays, config, from_published("umt5", tensors, config)


def check(name, got, expected):
    deviation = float(np.abs(np.asarray(got) - expected).max())
    print(f"{name}: largest deviation {deviation:.1e}")
    assert deviation < TOLERANCE, name


def test_no_array_is_left_out(recorded):
    arrays, _, _ = recorded
    assert set(arrays) == {
        "ids", "mask", "block0", "block1", "output", "prompt_embeds",
        "relpos", "relpos_bucket",
    }  # fmt: skip


def test_position_buckets(recorded):
    arrays, config, _ = recorded
    assert len(arrays["relpos"]) == 1201
    got = position_buckets(arrays["relpos"], config.num_buckets, config.max_distance)
    np.testing.assert_array_equal(got, arrays["relpos_bucket"])


def test_blocks_and_output(recorded):
    arrays, config, params = recorded
    encode = jax.jit(
        lambda params, ids, mask: Umt5Encoder(config).apply(
            {"params": params}, ids, mask, collect=True
        )
    )
    output, blocks = encode(
        params, arrays["ids"].astype(np.int32), arrays["mask"].astype(bool)
    )
    check("block0", blocks[0], arrays["block0"])
    check("block1", blocks[1], arrays["block1"])
    check("output", output, arrays["output"])


def test_prompt_embeds(recorded):
    arrays, config, params = recorded
    lengths = arrays["mask"].sum(1).astype(np.int32)
    got = embed_prompts(config, params, arrays["ids"].astype(np.int32), lengths)
    check("prompt_embeds", got, arrays["prompt_embeds"])
    assert lengths.min() < got.shape[1]
    for row, length in zip(got, lengths, strict=True):
        assert not np.any(row[length:])


def test_weights_come_back_under_every_recorded_name(recorded, golden):
    arrays, _ = golden("t5")
    _, config, params = recorded
    back = to_published("umt5", params, "wan", config)
    assert {f"w/{name}" for name in back} == {k for k in arrays if k.startswith("w/")}
    for name, tensor in back.items():
        np.testing.assert_array_equal(tensor, arrays[f"w/{name}"])


def test_names_and_shapes_at_full_size():
    recorded = json.loads((GOLDEN / "t5_state_dict_keys.json").read_text())
    assert len(recorded) == 242
    shapes = NETWORKS["umt5"].shapes("wan", make_umt5_config("umt5_xxl"))
    assert {name: list(shape) for name, shape in shapes.items()} == recorded
