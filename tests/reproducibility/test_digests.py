"""A digest sees every change, and neither mesh nor order of the rows' makers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from anchoredit_jax import randomness
from anchoredit_jax.reproducibility.digests import (
    digest_keys,
    digest_leaves,
    digest_rows,
    step_keys,
)
from anchoredit_jax.testing import tiny_batch

RNG = np.random.default_rng(0)


def of(values):
    return digest_leaves({"w": jnp.asarray(values)})["w"]


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (2, 3, 5)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_one_ulp_of_any_element_is_seen(shape, dtype):
    values = np.asarray(jnp.asarray(100 * RNG.normal(size=shape)).astype(dtype))
    digests = {of(values)}
    for place in np.ndindex(shape):
        changed = values.copy()
        bits = changed.view("uint16" if dtype == "bfloat16" else "uint32")
        bits[place] ^= 1
        digests.add(of(changed))
    assert len(digests) == 1 + values.size
    assert of(values) in digests  # and always the same


def test_places_signs_shapes_and_dtypes_are_seen():
    values = np.float32([0.0, 1.0, 2.0, 3.0])
    others = [
        values,
        np.float32([1.0, 0.0, 2.0, 3.0]),
        np.float32([-0.0, 1.0, 2.0, 3.0]),
        values.reshape(2, 2),
        values.view(np.int32),
        np.float32([0.0, 1.0, 2.0, 3.0, 0.0]),
        np.array([False, True, True, True]),
    ]
    assert len({of(other) for other in others}) == len(others)


@pytest.mark.parametrize("spec", [(), ("device",), (None, "device"), ("device", None)])
@pytest.mark.parametrize("count", [2, 8])
def test_a_digest_does_not_depend_on_the_mesh(spec, count):
    values = RNG.normal(size=(8, 16)).astype(np.float32)
    mesh = Mesh(np.array(jax.devices()[:count]), ("device",))
    placed = jax.device_put(values, NamedSharding(mesh, PartitionSpec(*spec)))
    assert digest_leaves({"w": placed})["w"] == of(values)


def test_names_are_those_of_the_state():
    digests = digest_leaves({"params": {"w": jnp.ones(2)}, "opt": (jnp.ones(3),)})
    assert list(digests) == ["opt/0", "params/w"]


def test_each_row_of_a_batch_has_its_digest():
    batch = tiny_batch(3)
    digests = digest_rows(batch)
    assert digests.shape == (3, 2) and digests.dtype == np.uint32
    part = digest_rows({name: rows[1:] for name, rows in batch.items()})
    np.testing.assert_array_equal(part, digests[1:])  # as on another host
    for name in batch:
        changed = {key: rows.copy() for key, rows in batch.items()}
        changed[name][1].reshape(-1).view(np.uint8)[0:1] ^= 1
        if name == "id":
            changed["id"] = batch["id"] + np.int32([0, 1, 0])
        same = (digest_rows(changed) == digests).all(1)
        assert same.tolist() == [True, False, True], name


def keys(seed=0, stage="single_turn", step=4, samples=(1, 2)):
    root = randomness.stage_key(seed, stage)
    return np.asarray(step_keys(root, np.int32(step), np.int32(samples)))


def test_draws_are_told_apart_by_seed_stage_step_sample_and_purpose(monkeypatch):
    """Rows 22 and 53 of the user reports: they follow from these, and from no order."""
    digests = digest_keys(keys())
    np.testing.assert_array_equal(digest_keys(keys(samples=(2, 1)))[::-1], digests)
    for changed in (
        dict(seed=1),
        dict(stage="consistency"),
        dict(step=5),
        dict(samples=(3, 4)),
    ):
        assert (digest_keys(keys(**changed)) != digests).any(1).all(), changed
    plain = randomness.step_key

    def swapped(root, step, purpose):
        moved = purpose == randomness.Purpose.NOISE
        return plain(root, step, randomness.Purpose.RENOISE if moved else purpose)

    monkeypatch.setattr(randomness, "step_key", swapped)
    step_keys.clear_cache()
    assert (digest_keys(keys()) != digests).any(1).all()
    step_keys.clear_cache()


def test_keys_are_those_that_stages_draw_from():
    root = randomness.stage_key(0, "single_turn")
    place = list(randomness.Purpose).index(randomness.Purpose.NOISE)
    drawn = randomness.sample_keys(
        root, jnp.int32(4), jnp.arange(1, 3), randomness.Purpose.NOISE
    )
    np.testing.assert_array_equal(keys()[:, place], jax.random.key_data(drawn))
