"""Policies of memory change what is kept, never what comes out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import Transformer, attention, kernels
from anchoredit_jax.models.config import CHOICES
from anchoredit_jax.models.splash import (
    splash_frame_attention,
    splash_prompt_attention,
)
from anchoredit_jax.testing import equations, tiny_batch, tiny_model, tiny_params
from anchoredit_jax.trees import leaves_by_name

LAYERS = tiny_model().num_layers


def gradient_of(model, **visibility):
    batch = tiny_batch(1, 3)
    params = jax.tree.map(jnp.asarray, tiny_params())

    def loss(params):
        out = Transformer(model).apply(
            {"params": params},
            batch["latents"],
            jnp.ones((1, 3)),
            batch["text"],
            visibility=FrameVisibility(**visibility),
        )
        return jnp.sum(out**2)

    return jax.grad(loss), params


@pytest.mark.parametrize("policy", CHOICES["remat"])
def test_gradients_are_the_same(policy):
    gradient, params = gradient_of(tiny_model(remat=policy))
    plain, _ = gradient_of(tiny_model())
    ours, theirs = (leaves_by_name(jax.jit(f)(params)) for f in (gradient, plain))
    for path, leaf in ours.items():
        scale = np.abs(theirs[path]).max()
        np.testing.assert_allclose(leaf, theirs[path], atol=2e-5 * scale, err_msg=path)


CHOSEN = dict(choices=((None, 0), (2, 0)), choice=np.array([1]))


def kept_by_scan(policy, visibility=None, **model):
    """What the forward scan over layers hands to the backward one."""
    model = tiny_model(remat=policy, **model)
    gradient, params = gradient_of(model, **(visibility or {}))
    jaxpr = jax.make_jaxpr(gradient)(params).jaxpr
    scans = [e for e in equations(jaxpr) if e.primitive.name == "scan"]
    forward = next(e for e in scans if e.params["length"] == LAYERS)
    outputs = [v.aval for v in forward.outvars]
    return [aval for aval in outputs if aval.shape[:1] == (LAYERS,)]


def rows_kept(policy, visibility=None, **model):
    """Shapes of those that grow with the tokens, without the layers' axis."""
    kept = kept_by_scan(policy, visibility, **model)
    return sorted(a.shape[1:] for a in kept if a.ndim >= 4)


def test_blocks_keep_their_inputs_and_nothing_else():
    inputs = (1, 3, 16, 32)
    assert rows_kept("block") == rows_kept("offload") == [inputs]
    assert len(rows_kept("none")) > 10
    (here,) = [a for a in kept_by_scan("block") if a.shape[1:] == inputs]
    (away,) = [a for a in kept_by_scan("offload") if a.shape[1:] == inputs]
    assert "host" in str(away.memory_space).lower()
    assert "host" not in str(here.memory_space).lower()


@pytest.fixture
def interpreted(monkeypatch):
    """The TPU kernel, step by step on a CPU."""
    tpu = jax.sharding.AbstractDevice("TPU v5", None, "tpu")
    monkeypatch.setattr(kernels, "device_at_hand", lambda: tpu)
    for kernel in (splash_frame_attention, splash_prompt_attention):
        slow = functools.partial(kernel, interpret=True)
        monkeypatch.setattr(attention, kernel.__name__, slow)


def test_what_attention_gave_can_be_kept(interpreted):
    of_frames, of_prompts = (1, 2, 3 * 128, 16), (3, 2, 128, 16)  # frames are padded
    for visibility in (None, CHOSEN):  # one rule, or each sample's own
        kept = rows_kept("attention", visibility, attention="splash")
        assert of_frames in kept and of_prompts in kept
        assert rows_kept("block", visibility, attention="splash") == [(1, 3, 16, 32)]


def test_samples_that_choose_have_the_same_gradients(interpreted):
    """Under every policy, through the kernel of the TPU."""
    plain, params = gradient_of(tiny_model(attention="prefix"), **CHOSEN)
    theirs = leaves_by_name(jax.jit(plain)(params))
    for policy in ("block", "attention", "offload"):
        model = tiny_model(remat=policy, attention="splash")
        gradient, _ = gradient_of(model, **CHOSEN)
        for path, leaf in leaves_by_name(jax.jit(gradient)(params)).items():
            scale = np.abs(theirs[path]).max()
            np.testing.assert_allclose(
                leaf, theirs[path], atol=5e-5 * scale, err_msg=path
            )


def test_the_head_goes_frame_by_frame():
    def lengths_of_scans(policy):
        gradient, params = gradient_of(tiny_model(remat=policy))
        jaxpr = jax.make_jaxpr(gradient)(params).jaxpr
        scans = [e for e in equations(jaxpr) if e.primitive.name == "scan"]
        return {e.params["length"] for e in scans}

    frames = 3
    assert frames not in lengths_of_scans("none")
    assert frames in lengths_of_scans("block")


def test_an_unknown_policy_is_refused():
    with pytest.raises(UserError, match="model.remat must be one of .*offload, given"):
        tiny_model(remat="everything")
