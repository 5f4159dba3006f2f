"""`init="same_place"`: an untrained editor already shows the frame before."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.data.batches import DataConfig, open_steps
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import rope
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.presets import make_config
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.models.transformer import Transformer
from anchoredit_jax.stages.step import random_params

TEXT = NgramTextEncoder()


@pytest.fixture(scope="module")
def batch():
    config = DataConfig(turns=2, batch=8)
    return open_steps(config, PatchCodec(), TEXT)[0]


def predicted_from_noise(batch, sigma=1.0, **changes):
    """x_0 of frames 1 and 2, noised to `sigma`, by an untrained network."""
    model = make_config("tiny", **changes)
    params = random_params(model, jax.random.key(0), TEXT.length)
    latents = batch["latents"]
    noise = np.random.default_rng(0).normal(size=latents.shape).astype(np.float32)
    noised = (1 - sigma) * latents + sigma * noise
    noised = np.concatenate([latents[:, :1], noised[:, 1:]], axis=1)
    timesteps = np.tile(np.float32([0, 1, 1]) * 1000 * sigma, (len(latents), 1))
    forward = functools.partial(
        Transformer(model).apply,
        visibility=FrameVisibility("causal", window=2, sink=1),
        positions=jnp.array([[0.0, 1.0, 1.0]]),
    )
    velocity = jax.jit(forward)({"params": params}, noised, timesteps, batch["text"])
    assert np.isfinite(velocity).all()
    return (noised - sigma * velocity)[:, 1:]


def error_of(predicted, latents):
    return float(np.mean(np.square(predicted - latents)))


def test_the_untrained_network_shows_the_frame_before(batch):
    source = batch["latents"][:, :1]
    predicted = predicted_from_noise(batch)
    shown, strange = error_of(predicted, source), error_of(predicted, source[::-1])
    assert shown < 0.5 < 1.0 < strange
    # Wan's initial values show the noise.
    wan = predicted_from_noise(batch, init="wan", prediction="velocity")
    assert error_of(wan, source) > 1.5


def test_a_head_that_predicts_x0_leaves_no_noise_in_it(batch):
    """The velocity head hands the noise through, and what it loses stays as grain."""
    source = batch["latents"][:, :1]
    clean = error_of(predicted_from_noise(batch, 0.5), source)
    grainy = error_of(predicted_from_noise(batch, 0.5, prediction="velocity"), source)
    assert clean < 0.7 * grainy


def untrained_logits(frames, width, **changes):
    """Of a query in the last of `frames` and the last of `width` tokens, with the keys
    of all: [layers, frames, width, heads]. From the constants alone; what the tokens
    hold adds little to them."""
    model = make_config("tiny", **changes)
    params = random_params(model, jax.random.key(0), TEXT.length)
    attention = params["blocks"]["self_attn"]
    shape = (model.num_layers, 1, model.num_heads, model.head_dim)
    query, key = (
        (attention[name]["bias"] * attention[f"norm_{name}"]["scale"]).reshape(shape)
        for name in "qk"
    )
    positions = jnp.arange(frames, dtype=jnp.float32)[None] * model.temporal_stride
    turned = rope.rotations(positions, 1, width, model.head_dim, model.spatial_stride)
    turned = [x.reshape(1, frames * width, 1, -1) for x in turned]
    query, key = (
        rope.rotate(jnp.tile(x, (1, frames * width, 1, 1)), *turned)
        for x in (query, key)
    )
    logits = jnp.sum(query[:, -1:] * key, -1)
    return np.asarray(logits.reshape(model.num_layers, frames, width, -1))


def test_heads_look_at_the_frame_before_or_at_the_oldest():
    logits = untrained_logits(13, 1)[:, :, 0]
    np.testing.assert_array_equal(logits[..., 0].argmax(1), 11)
    np.testing.assert_array_equal(logits[..., 2].argmax(1), 0)
    assert (np.diff(logits[:, 6:, 2], axis=1) < 0).all()
    assert np.abs(logits[..., 1]).max() == 0.0  # a head without constants


def test_heads_tell_neighbours_apart_at_any_stride():
    def fall(stride):  # of the logit, from the same place to the next
        same, beside = untrained_logits(1, 2, spatial_stride=stride)[0, 0, ::-1, 0]
        return same - beside

    assert fall(0.6) == pytest.approx(fall(1.0), rel=0.05)
    assert np.exp(-fall(0.6)) < 0.005


def test_a_network_with_one_head_has_no_room_to_copy_and_stays_finite(batch):
    predicted = predicted_from_noise(batch, num_heads=1)
    assert np.isfinite(predicted).all()


def test_odd_numbers_of_heads_copy_too(batch):
    predicted = predicted_from_noise(batch, num_heads=3)
    assert error_of(predicted, batch["latents"][:, :1]) < 1.0
