"""Attention spread over a mesh gives the numbers of the oracle on one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import attention
from anchoredit_jax.models.mesh_attention import attend_on_mesh
from anchoredit_jax.models.splash import (
    splash_frame_attention,
    splash_prompt_attention,
)
from anchoredit_jax.parallel import MeshConfig, make_mesh, using
from anchoredit_jax.stages.step import random_params
from anchoredit_jax.testing import tiny_model

T, L, H = 3, 8, 8
CAUSAL = FrameVisibility("causal")
MESHES = {
    "tokens for heads": (MeshConfig(2, context=4), 4, "all-to-all"),
    "and over heads": (MeshConfig(1, context=2, tensor=2), 4, "all-to-all"),
    "gathered keys": (MeshConfig(2, context=4), 3, "all-gather"),
    "heads alone": (MeshConfig(2, fsdp=2, tensor=2), 2, None),
    "rows that do not split": (MeshConfig(8), 2, None),
}


@pytest.fixture
def interpreted(monkeypatch):
    """The TPU kernel, step by step on a CPU."""
    for kernel in (splash_frame_attention, splash_prompt_attention):
        slow = functools.partial(kernel, interpret=True)
        monkeypatch.setattr(attention, kernel.__name__, slow)


def arrays(heads, batch=4, frames=(T, T, T, T), tokens=L):
    rng = np.random.default_rng(0)
    return [
        jnp.asarray(rng.normal(size=(batch, n, tokens, heads, H)), jnp.float32)
        for n in frames
    ]


def gradients(attend, *inputs):
    def loss(query, key, value, weights):
        out = attend(query, key, value)
        return jnp.sum(out * weights), out

    grads, out = jax.grad(loss, (0, 1, 2), has_aux=True)(*inputs)
    return out, *grads


def compiled(mesh, attend, *inputs):
    with using(mesh):
        return jax.jit(functools.partial(gradients, attend)).lower(*inputs).compile()


@pytest.mark.parametrize("backend", ["prefix", "xla", "splash"])
@pytest.mark.parametrize("name", MESHES)
def test_numbers_and_gradients_of_the_oracle(name, backend, interpreted):
    config, heads, collective = MESHES[name]
    mesh, inputs = make_mesh(config), arrays(heads)
    program = compiled(
        mesh,
        lambda q, k, v: attention.frame_attention(q, k, v, CAUSAL, backend=backend),
        *inputs,
    )
    want = gradients(
        lambda q, k, v: attention.frame_attention(q, k, v, CAUSAL, backend="dense"),
        *inputs,
    )
    for ours, theirs in zip(program(*inputs), want, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    if collective:
        assert f" {collective}(" in program.as_text()


@pytest.mark.parametrize("backend", ["prefix", "splash"])
def test_memory_and_rules_of_samples_go_with_their_rows(backend, interpreted):
    mesh = make_mesh(MeshConfig(2, context=2, tensor=2))
    query, key, value, weights = arrays(4)
    past_keys, past_values = arrays(4, frames=(2, 2))
    valid = jnp.array([[True, True], [True, False], [False, True], [False, False]])
    past = attention.Past(past_keys, past_values, valid)
    by_sample = FrameVisibility(
        "causal",
        choices=((None, 0), (1, 0), (2, 1)),
        choice=jnp.array([0, 2, 1, 2]),
    )
    for rule in (CAUSAL, by_sample):

        def attend(q, k, v, backend=backend, rule=rule):
            return attention.frame_attention(q, k, v, rule, past, backend)

        program = compiled(mesh, attend, query, key, value, weights)
        dense = functools.partial(attend, backend="dense")
        want = gradients(dense, query, key, value, weights)
        for ours, theirs in zip(program(query, key, value, weights), want, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("shown", ["all", "first token"])
def test_prompts_are_whole_on_every_device_of_the_token_axis(shown, interpreted):
    mesh = make_mesh(MeshConfig(2, context=2, tensor=2))
    query, weights = arrays(4, frames=(T, T))
    key, value = arrays(4, frames=(T, T), tokens=5)
    mask = None
    if shown == "first token":
        mask = np.ones((T, 5), bool)
        mask[0, 1:] = False
    inputs = query, key, value, weights
    programs = {
        backend: compiled(
            mesh,
            lambda q, k, v, b=backend: attention.prompt_attention(q, k, v, mask, b),
            *inputs,
        )
        for backend in ("splash", "prefix")
    }
    want = gradients(lambda q, k, v: attention.prompt_attention(q, k, v, mask), *inputs)
    for program in programs.values():
        for ours, theirs in zip(program(*inputs), want, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_a_batch_that_does_not_split_stays_whole():
    """One session on a mesh whose batch axes are wider: nothing fails."""
    mesh = make_mesh(MeshConfig(2, context=2, tensor=2))
    query, key, value, _ = arrays(4, batch=1)
    with using(mesh):
        out = jax.jit(lambda *x: attention.frame_attention(*x, CAUSAL))(
            query, key, value
        )
    want = attention.frame_attention(query, key, value, CAUSAL, backend="dense")
    np.testing.assert_allclose(out, want, atol=2e-5)


@pytest.mark.parametrize(
    ("tokens", "heads", "message"),
    [
        (6, 4, r"6 tokens .* mesh.context=4, 2 are left over: .* such as 2"),
        (8, 3, r"3 heads .* mesh.tensor=2: .* such as 1"),
    ],
)
@pytest.mark.parametrize("backend", ["prefix", "splash"])
def test_what_does_not_split_is_refused(tokens, heads, message, backend):
    query, key, value, _ = arrays(heads, tokens=tokens)
    with using(make_mesh(MeshConfig(1, context=4, tensor=2))):
        with pytest.raises(UserError, match=message):
            jax.eval_shape(
                lambda *x: attention.frame_attention(*x, CAUSAL, backend=backend),
                query, key, value,
            )  # fmt: skip


def test_parameters_are_made_on_a_mesh_that_divides_no_token_of_theirs():
    """Fresh parameters are traced with one token a frame."""
    init = functools.partial(random_params, tiny_model(), text_tokens=4)
    plain = init(jax.random.key(0))
    with using(make_mesh(MeshConfig(1, context=4, tensor=2))):
        spread = jax.jit(init)(jax.random.key(0))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-6), plain, spread
    )


def test_keys_of_other_tokens_are_refused_where_they_should_be_alike():
    query, key = arrays(4)[0], arrays(4, tokens=4)[0]
    with using(make_mesh(MeshConfig(2))), pytest.raises(ValueError, match="keys of 4"):
        jax.jit(lambda q, k: attend_on_mesh(lambda q, k, v: q, q, k, k))(query, key)
