"""Degradation by the codec, inside of the training step, for both codecs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.encoders import make_codec
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import CodecConfig, PatchCodec
from anchoredit_jax.models.wan_vae import WanCodec
from anchoredit_jax.parallel import MeshConfig, batch_sharding, make_mesh
from anchoredit_jax.parallel.sharded import make_on_mesh
from anchoredit_jax.stages import round_trip
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.strict import build_dataclass
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run
from anchoredit_jax.training import loop

VAE = dict(kind="wan_vae", wan_vae=dict(size="tiny"))
OFF = dict(history="beside")
ALWAYS = dict(OFF, degrade=dict(round_trip=1.0, round_trip_mix=1.0, monotonic=False))


def codec_of(kind):
    return make_codec(
        build_dataclass(CodecConfig, VAE if kind == "wan_vae" else {}, "codec")
    )


@pytest.mark.parametrize("kind", ["patch", "wan_vae"])
def test_chosen_frames_are_what_the_codec_gives_back(kind):
    codec = codec_of(kind)
    trip = round_trip.RoundTrip(codec)
    rng = np.random.default_rng(0)
    latents = jnp.float32(3.0 * rng.normal(size=(2, 3, 4, 4, codec.channels)))
    chosen = jnp.array([[False, True, False], [False, False, True]])
    found = jax.jit(trip)(trip.params, latents, chosen)
    expected = codec.encode(codec.decode(latents))
    assert np.abs(expected - latents).max() > 0.1
    where = chosen[..., None, None, None]
    np.testing.assert_allclose(
        found, jnp.where(where, expected, latents), atol=2e-4, rtol=1e-4
    )


def trained(codec, options, channels, mesh=None):
    run = tiny_run("causal_forcing", options=options, model=dict(channels=channels))
    module = STAGES["causal_forcing"]
    params = jax.tree.map(jnp.asarray, tiny_params(run.model))
    rng = np.random.default_rng(1)
    batch = tiny_batch(2, 3)
    batch["latents"] = np.float32(2.0 * rng.normal(size=(2, 3, 8, 8, channels)))
    step = module.make_train_step(run, codec, mesh)

    def init(parent):
        return module.init_state(run, parent)

    if mesh is None:
        return float(step(init(dict(ema=params)), batch)[1]["loss"]), step
    state = make_on_mesh(init, mesh, dict(ema=params))
    batch = jax.device_put(batch, batch_sharding(mesh))
    return float(step(state, batch)[1]["loss"]), step


@pytest.mark.parametrize("kind", ["patch", "wan_vae"])
def test_a_step_trains_on_histories_that_passed_through_it(kind):
    codec = codec_of(kind)
    before, plain = trained(codec, OFF, codec.channels)
    after, step = trained(codec, ALWAYS, codec.channels)
    assert np.isfinite(after) and abs(after / before - 1) > 1e-5
    assert plain.frozen is None and step.frozen is not None
    if kind == "wan_vae":  # weights are arguments, not constants of the program
        jax.tree.map(np.testing.assert_array_equal, step.frozen, codec.params)
        mesh = make_mesh(MeshConfig(2, context=2))
        sharded, _ = trained(codec, ALWAYS, codec.channels, mesh)
        assert sharded == pytest.approx(after, rel=1e-5)


def test_weights_are_no_constants_of_the_program():
    codec = codec_of("wan_vae")
    _, step = trained(codec, ALWAYS, codec.channels)
    run = tiny_run(
        "causal_forcing", options=ALWAYS, model=dict(channels=codec.channels)
    )
    params = tiny_params(run.model)
    state = jax.eval_shape(
        lambda tree: STAGES["causal_forcing"].init_state(run, dict(ema=tree)), params
    )
    batch = tiny_batch(2, 3)
    batch["latents"] = np.zeros((2, 3, 8, 8, codec.channels), np.float32)
    jaxpr = jax.make_jaxpr(step.step)(state, batch, step.frozen)
    largest = max((np.size(x) for x in jaxpr.consts), default=0)
    assert largest < min(
        leaf.size for leaf in jax.tree.leaves(codec.params) if leaf.ndim == 4
    )


def test_no_codec_at_hand_is_one_line():
    run = tiny_run("causal_forcing", options=ALWAYS)
    with pytest.raises(UserError, match=r"options\.degrade\.round_trip needs the cod"):
        STAGES["causal_forcing"].make_train_step(run)


def test_the_loop_makes_the_codec_only_where_it_is_asked_for():
    run = tiny_run("causal_forcing", options=ALWAYS)
    assert isinstance(loop.codec_of_step(run), PatchCodec)
    run = tiny_run("causal_forcing", options=ALWAYS, codec=VAE)
    assert isinstance(loop.codec_of_step(run), WanCodec)
    assert loop.codec_of_step(tiny_run("single_turn")) is None
