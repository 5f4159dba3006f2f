"""Checksums: equal on any mesh, and other after any change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from anchoredit_jax.checkpoint import checksums as module
from anchoredit_jax.checkpoint.checksums import check_finite, checksums
from anchoredit_jax.errors import UserError

RNG = np.random.default_rng(0)


def arrays():
    rng = np.random.default_rng(1)
    return {
        "float32": rng.normal(size=(16, 8, 3)).astype(np.float32),
        "bfloat16": rng.normal(size=(16, 8)).astype(jnp.bfloat16),
        "int32": rng.integers(-9, 9, (16,), np.int32),
        "int8": rng.integers(-9, 9, (16,), np.int8),
        "bool": rng.integers(0, 2, (16,)).astype(bool),
        "scalar": np.int32(7),
        "empty": np.zeros((0, 3), np.float32),
    }


def test_numpy_and_compiled_programs_on_any_mesh_agree(monkeypatch):
    tree = arrays()
    expected = checksums(tree)
    assert expected["bfloat16"].startswith("bfloat16[16,8] ")
    mesh = jax.make_mesh((8,), ("a",))
    places = {
        name: NamedSharding(mesh, PartitionSpec("a" if x.shape[:1] == (16,) else None))
        if x.ndim
        else NamedSharding(mesh, PartitionSpec())
        for name, x in tree.items()
    }
    spread = jax.device_put(tree, places)
    assert checksums(spread) == expected
    monkeypatch.setattr(module, "_is_on_host", lambda leaf: False)
    assert checksums(spread) == expected
    assert checksums(jax.device_put(tree)) == expected
    assert checksums({"x": jnp.float32([1, np.nan])})  # what it holds is no matter


def test_pieces_on_the_host_are_one_array(monkeypatch):
    tree = arrays() | {"int64": np.arange(16) * 2**40}
    expected = checksums(tree)
    monkeypatch.setattr(module, "CHUNK", 5)
    assert checksums(tree) == expected


def test_any_bit_and_any_exchange_changes_it():
    array = RNG.normal(size=(6, 5)).astype(np.float32)
    seen = {checksums({"x": array})["x"]}
    for bit in range(array.nbytes * 8):
        changed = array.copy()
        changed.view(np.uint8).reshape(-1)[bit // 8] ^= 1 << (bit % 8)
        seen.add(checksums({"x": changed})["x"])
    seen.add(checksums({"x": array[::-1]})["x"])
    seen.add(checksums({"x": array.T})["x"])
    seen.add(checksums({"x": np.zeros_like(array)})["x"])
    assert len(seen) == array.nbytes * 8 + 4


def test_the_order_of_bytes_in_memory_is_no_part_of_it():
    array = RNG.normal(size=(6, 5)).astype(np.float32)
    assert checksums({"x": array.astype(">f4")}) == checksums({"x": array})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_what_is_no_number_is_refused_by_name(value, dtype, monkeypatch):
    tree = {"a": np.ones(4, dtype), "b/c": np.ones((2, 3), dtype), "n": np.int32(1)}
    check_finite(tree, "here")
    tree["b/c"][1, 1] = value
    said = r"here: not finite, NaN or infinities in 'b/c' \(1 of 6 numbers\)"
    with pytest.raises(UserError, match=said):
        check_finite(tree, "here")
    monkeypatch.setattr(module, "_is_on_host", lambda leaf: False)
    with pytest.raises(UserError, match=said):
        check_finite(jax.device_put(tree), "here")
