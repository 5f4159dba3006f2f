"""An editor whose parameters and memory lie on several devices."""

import jax
import numpy as np
import pytest

from anchoredit_jax import load_editor
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import MeshConfig
from anchoredit_jax.testing import record_compilations
from tests.session.editors import assert_equal_turns

SAMPLE = "anchoredit_jax/assets/sample.png"
INSTRUCTIONS = ["make the background blue", "add a red circle at the top left"]


def edited(**settings):
    session = load_editor(**settings).start(SAMPLE, seed=0)
    for instruction in INSTRUCTIONS:
        session.edit(instruction)
    return session


def test_edits_are_those_of_one_device():
    alone = edited()
    spread = edited(mesh=MeshConfig(fsdp=2, context=2, tensor=2))
    kernel = spread.editor.params["blocks"]["ffn"]["fc1"]["kernel"]
    assert kernel.addressable_shards[0].data.size * 8 == kernel.size
    keys = spread.history[-1].memory.keys  # tokens over context, heads over tensor
    assert keys.addressable_shards[0].data.size * 4 == keys.size
    for ours, theirs in zip(spread.history, alone.history, strict=True):
        np.testing.assert_allclose(ours.latent, theirs.latent, atol=2e-4)
    with record_compilations() as compiled:
        whole = spread.branch()
        whole.edit(INSTRUCTIONS[0])
        spread.edit(INSTRUCTIONS[0], on_step=lambda step, steps: None)
    assert_equal_turns(spread.history, whole.history)
    assert not [name for name in compiled if "draw" in name or "commit" in name]


def test_parameters_may_be_kept_narrow():
    narrow = load_editor(params_dtype="bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(narrow.params)} == {"bfloat16"}
    session = narrow.start(SAMPLE, seed=0)
    session.edit(INSTRUCTIONS[0])
    exact = load_editor().start(SAMPLE, seed=0)
    exact.edit(INSTRUCTIONS[0])
    ours, theirs = (s.history[-1].latent for s in (session, exact))
    assert 0 < np.abs(ours - theirs).mean() < 0.05
    with pytest.raises(UserError, match="params_dtype must be one of float32, bfloat"):
        load_editor(params_dtype="int8")
