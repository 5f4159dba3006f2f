"""`init="same_place"`: an untrained editor already shows the frame before."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.data.batches import DataConfig, make_batches
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.presets import make_config
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.stages.step import init_params

TEXT = NgramTextEncoder()


@pytest.fixture(scope="module")
def batch():
    config = DataConfig(turns=2, batch=8)
    return make_batches(config, PatchCodec(), TEXT)[0]


def predicted_from_noise(batch, **changes):
    """x_0 of frames 1 and 2, seen as pure noise by an untrained network."""
    model = make_config("tiny", **changes)
    params = init_params(model, jax.random.key(0), TEXT.length)
    latents = batch["latents"]
    noise = np.random.default_rng(0).normal(size=latents.shape).astype(np.float32)
    noised = np.concatenate([latents[:, :1], noise[:, 1:]], axis=1)
    timesteps = np.tile(np.float32([0, 1000, 1000]), (len(latents), 1))
    forward = functools.partial(
        Transformer(model).apply,
        visibility=FrameVisibility("causal", window=2, sink=1),
        positions=jnp.array([[0.0, 1.0, 1.0]]),
    )
    velocity = jax.jit(forward)({"params": params}, noised, timesteps, batch["text"])
    return (noised - velocity)[:, 1:]


def error_of(predicted, latents):
    return float(np.mean(np.square(predicted - latents)))


def test_the_untrained_network_shows_the_frame_before(batch):
    source = batch["latents"][:, :1]
    predicted = predicted_from_noise(batch)
    shown, strange = error_of(predicted, source), error_of(predicted, source[::-1])
    assert shown < 0.5 < 1.0 < strange
    # Wan's initial values show the noise.
    assert error_of(predicted_from_noise(batch, init="wan"), source) > 1.5


def test_a_network_with_one_head_has_no_room_to_copy_and_stays_finite(batch):
    predicted = predicted_from_noise(batch, num_heads=1)
    assert np.isfinite(predicted).all()


def test_odd_numbers_of_heads_copy_too(batch):
    predicted = predicted_from_noise(batch, num_heads=3)
    assert error_of(predicted, batch["latents"][:, :1]) < 1.0
