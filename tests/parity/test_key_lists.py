"""The published lists of names and shapes at full size, without any memory."""

import json

import pytest

from anchoredit_jax.convert.networks import NETWORKS, preset_of, recognise

from .conftest import GOLDEN

LISTS = {
    "state_dict_keys_14b": ("transformer", 1095),
    "state_dict_keys_1_3b": ("transformer", 825),
    "vae_state_dict_keys": ("vae", 194),
    "t5_state_dict_keys": ("umt5", 242),
}


@pytest.mark.parametrize("name", LISTS)
def test_both_directions(name):
    expected, tensors = LISTS[name]
    recorded = json.loads((GOLDEN / f"{name}.json").read_text())
    recorded = {key: tuple(shape) for key, shape in recorded.items()}
    assert len(recorded) == tensors
    network, dialect = recognise(recorded)
    assert (network.name, dialect) == (expected, "wan")
    config = network.config_of(recorded, dialect, {})
    table, leaves = network.table(config), network.leaves(config)
    table.check(recorded, dialect, leaves)  # in: every one finds its place
    assert table.shapes(dialect, leaves) == recorded  # out: exactly these
    if expected == "transformer":
        assert preset_of(config) == f"wan_{name.removeprefix('state_dict_keys_')}"
    else:
        assert config == NETWORKS[expected].usual
    print(f"{name}: {tensors} names and shapes, both ways")
