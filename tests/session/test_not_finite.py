"""Nobody is handed a picture of values that are not finite: they are named, refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax import encoders
from anchoredit_jax.checkpoint import Lineage, digest, save_bundle
from anchoredit_jax.config import run_from_dict
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import (
    CodecConfig,
    PatchCodec,
    WanVaeSettings,
    decode_pixels,
)
from anchoredit_jax.models.text import TextConfig, Umt5Settings
from anchoredit_jax.models.wan_vae import init_params, make_vae_config
from anchoredit_jax.session import load_editor, page, page_files
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.rollout import iterate_rollouts
from anchoredit_jax.trees import leaves_by_name, unflatten
from tests.session.editors import SOURCE, make_editor


def spoilt(params, value=np.nan):
    """The parameters with one number of one array replaced."""
    named = leaves_by_name(params)
    name = next(name for name in named if name.endswith("self_attn/o/kernel"))
    leaf = np.array(named[name])
    leaf.flat[3] = value
    return unflatten({**named, name: jnp.asarray(leaf)}), name


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_edit_by_such_weights_is_refused_and_the_session_stays(editor, value):
    params, name = spoilt(editor.params, value)
    bad = make_editor(params, sampler=editor.sampler, memory=editor.memory)
    object.__setattr__(bad, "_programs", editor._programs)  # compiled once
    session = bad.start(SOURCE)
    with pytest.raises(UserError, match=f"not finite.*in .*{name}"):
        session.edit("make it blue")
    assert session.turn == 0 and len(session.turns) == 1
    opened = page_files.open_image(bad, SOURCE)
    with pytest.raises(UserError, match="not finite"):
        opened.session.edit("make it blue")
    assert page.view(Branches(opened.session)).selected == 0


def test_frames_of_an_evaluation_are_refused_too(editor):
    params, name = spoilt(editor.params)
    frames = iterate_rollouts(
        make_editor(params), [SOURCE[:16]], [["x"]], editor.sampler, editor.memory
    )
    with pytest.raises(UserError, match=name):
        next(frames)


def test_infinite_latents_are_not_cut_to_white():
    latents = np.zeros((1, 2, 2, 16), np.float32)
    codec = PatchCodec(2)
    assert decode_pixels(codec.decode, latents).shape == (1, 4, 4, 3)
    latents[0, 1, 1, 2] = np.inf
    with pytest.raises(UserError, match="not finite"):
        decode_pixels(codec.decode, latents)
    with pytest.raises(UserError, match="not finite"):
        decode_pixels(lambda given: given * np.nan, np.zeros_like(latents))


def test_weights_that_are_not_finite_are_not_loaded(editor, tmp_path):
    run = run_from_dict({"stage": "single_turn", "model": vars(editor.run.model)})
    params, name = spoilt(editor.params)
    lineage = Lineage("single_turn", 3, digest(params), run.to_dict())
    save_bundle(tmp_path, params, run, lineage)
    with pytest.raises(UserError, match=f"NaN or infinities in .*{name}"):
        load_editor(tmp_path)


def test_nor_are_those_of_a_codec_or_text_encoder(monkeypatch):
    vae = make_vae_config("tiny")
    shapes = jax.eval_shape(lambda key: init_params(vae, key), jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, np.float32), shapes)
    monkeypatch.setattr(encoders, "load_vae", lambda *_: params)
    settings = WanVaeSettings(size="tiny", weights="a.pth")
    config = CodecConfig("wan_vae", wan_vae=settings)
    with pytest.raises(UserError, match="VAE's weights 'a.pth': .*not finite"):
        encoders.make_codec(config)
    encoder = type("Encoder", (), {"params": {"a": jnp.array([np.inf])}})()
    monkeypatch.setattr(encoders, "load_umt5", lambda *_: encoder)
    text = TextConfig("umt5", umt5=Umt5Settings("b", "umt5_tiny"), dim=32)
    with pytest.raises(UserError, match="text encoder's weights in 'b': .*not finite"):
        encoders.make_text_encoder(text)
