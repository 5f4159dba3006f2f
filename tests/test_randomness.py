"""Keys: no two draws share one, and no draw depends on the mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from anchoredit_jax import randomness
from anchoredit_jax.randomness import Purpose


def test_no_two_draws_share_a_key():
    seen = set()
    for stage in ("single_turn", "causal_forcing"):
        root = randomness.stage_key(0, stage)
        keys = jax.jit(
            jax.vmap(
                lambda step, root=root: jnp.stack(
                    [
                        jax.random.key_data(
                            randomness.sample_keys(root, step, jnp.arange(4), purpose)
                        )
                        for purpose in Purpose
                    ]
                )
            )
        )(jnp.arange(250))
        seen.update(map(tuple, np.asarray(keys).reshape(-1, 2).tolist()))
    assert len(seen) == 2 * 250 * len(Purpose) * 4


@pytest.mark.parametrize("shape", [(8,), (3, 5)])
def test_noise_does_not_depend_on_the_mesh(shape):
    def draw(samples):
        root = randomness.stage_key(0, "single_turn")
        keys = randomness.sample_keys(root, jnp.int32(7), samples, Purpose.NOISE)
        return randomness.normals(keys, shape)

    samples = jnp.arange(8)
    expected = jax.jit(draw)(samples)
    for count in (1, 2, 8):
        mesh = Mesh(np.array(jax.devices()[:count]), ("data",))
        sharding = NamedSharding(mesh, PartitionSpec("data"))
        got = jax.jit(draw, out_shardings=sharding)(jax.device_put(samples, sharding))
        np.testing.assert_array_equal(got, expected)
