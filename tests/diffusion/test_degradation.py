"""Degradations: strength, keys, borders. Values: `tests/parity/test_degrade.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.diffusion import degradation
from anchoredit_jax.diffusion.degradation import DegradeConfig

SHAPE = (3, 16, 16, 4)
ALL = dict(colour=1.0, low_frequency=1.0, block=1.0, laplace=1.0, blur=1.0)


def keys(count):
    return jax.vmap(jax.random.key)(jnp.arange(count))


def degraded(config, count=2):
    rng = np.random.default_rng(0)
    latents = jnp.asarray(rng.normal(size=(count, *SHAPE)), jnp.float32)
    draws = degradation.draw(keys(count), SHAPE, config)
    return latents, degradation.degrade(latents, draws, config)


@pytest.mark.parametrize("kind", ALL)
def test_each_kind_changes_latents_a_little(kind):
    before, after = degraded(DegradeConfig(**{kind: 1.0}))
    change = np.abs(after - before)
    assert 0 < change.mean() < 0.3


def test_off_is_exactly_nothing():
    before, after = degraded(DegradeConfig())
    np.testing.assert_array_equal(before, after)
    assert not DegradeConfig().active


def test_draws_are_per_example():
    """The first sample's degradation does not depend on the batch around it."""
    config = DegradeConfig(**ALL)
    draws = degradation.draw(keys(3), SHAPE, config)
    alone = degradation.draw(keys(1), SHAPE, config)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:1], b), draws, alone)


def test_edge_padding_keeps_a_flat_image_flat():
    flat = jnp.ones((1, *SHAPE))
    for padding, kept in (("edge", True), ("zero", False)):
        config = DegradeConfig(blur=1.0, blur_padding=padding, monotonic=False)
        draws = degradation.draw(keys(1), SHAPE, config)
        out = degradation.degrade(flat, draws, config)
        assert bool(np.allclose(out, flat, atol=1e-6)) == kept


def test_round_trip_spares_the_source():
    config = DegradeConfig(round_trip=1.0, monotonic=False)
    before, _ = degraded(config_off := DegradeConfig())
    assert not config_off.active
    draws = degradation.draw(keys(2), SHAPE, config)

    def blackened(x, chosen):
        return jnp.where(chosen[..., None, None, None], 0.0, x)

    after = degradation.degrade(before, draws, config, blackened)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.abs(after[:, 1:] - before[:, 1:]).mean() > 0


def test_round_trip_needs_a_codec():
    with pytest.raises(ValueError, match="codec"):
        degraded(DegradeConfig(round_trip=1.0))
