"""Keys: no two draws share one, and no draw depends on the mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from anchoredit_jax import randomness
from anchoredit_jax.randomness import Purpose
from anchoredit_jax.stages.table import STAGES


def test_no_two_draws_share_a_key():
    """Row 21 of the user reports: 1,000 steps of every stage, eight samples each, all
    purposes."""
    steps, samples = jnp.arange(1000), jnp.arange(8)

    def keys_of(root, step):
        return jnp.stack(
            [
                jax.random.key_data(
                    randomness.sample_keys(root, step, samples, purpose)
                )
                for purpose in Purpose
            ]
        )

    keys_of_stage = jax.jit(jax.vmap(keys_of, in_axes=(None, 0)))
    drawn = [
        np.asarray(keys_of_stage(randomness.stage_key(0, stage), steps)).reshape(-1, 2)
        for stage in STAGES
    ]
    keys = np.concatenate(drawn).view(np.uint64)
    assert len(np.unique(keys)) == len(STAGES) * 1000 * len(Purpose) * 8


@pytest.mark.parametrize(
    ("samples", "shape", "spec"),
    [
        (8, (8,), ("device",)),
        (8, (3, 5), ("device",)),
        # Samples that do not divide over the devices; another axis does.
        (6, (16, 3), (None, "device")),
        (5, (7, 8), (None, None, "device")),
        (5, (3, 5), ()),
    ],
)
def test_noise_does_not_depend_on_the_mesh(samples, shape, spec):
    """Row 19 of the user reports: equal in every bit on 1, 2 and 8 devices."""

    def draw(samples):
        root = randomness.stage_key(0, "single_turn")
        keys = randomness.sample_keys(root, jnp.int32(7), samples, Purpose.NOISE)
        return randomness.normals(keys, shape)

    numbers = jnp.arange(samples)
    expected = jax.jit(draw)(numbers)
    assert expected.shape == (samples, *shape)
    for count in (1, 2, 8):
        mesh = Mesh(np.array(jax.devices()[:count]), ("device",))
        rows = NamedSharding(mesh, PartitionSpec(*spec[:1]))
        out = NamedSharding(mesh, PartitionSpec(*spec))
        got = jax.jit(draw, out_shardings=out)(jax.device_put(numbers, rows))
        assert got.sharding.is_equivalent_to(out, got.ndim)
        np.testing.assert_array_equal(got, expected)
