"""Every backend against the dense oracle, alone and beside a past."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.attention import Past, frame_attention, prompt_attention
from anchoredit_jax.testing import equations

B, T, L, N, H, P = 2, 5, 3, 2, 4, 3


def arrays(seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    past = Past(
        normal(B, P, L, N, H),
        normal(B, P, L, N, H),
        jnp.array([[True, False, True], [True, True, False]]),
    )
    return [normal(B, T, L, N, H) for _ in "qkv"], past


RULES = [
    FrameVisibility("bidirectional"),
    FrameVisibility("causal"),
    FrameVisibility("causal", window=3, sink=1),
    FrameVisibility("causal", choices=((None, 0), (2, 1)), choice=jnp.array([1, 0])),
]


def oracle(query, key, value, visibility, past):
    """Float64, one query token at a time."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    out = np.zeros_like(query)
    seen = np.broadcast_to(visibility.table(T), (B, T, T)).copy()
    if visibility.choices:
        seen &= np.asarray(visibility.sample_table(T))
    for b in range(B):
        for t in range(T):
            keys, values = key[b][seen[b, t]], value[b][seen[b, t]]
            if past is not None:
                valid = np.asarray(past.valid[b])
                keys = np.concatenate([np.asarray(past.keys[b])[valid], keys])
                values = np.concatenate([np.asarray(past.values[b])[valid], values])
            keys, values = keys.reshape(-1, N, H), values.reshape(-1, N, H)
            logits = np.einsum("lnh,mnh->nlm", query[b, t], keys) / np.sqrt(H)
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            out[b, t] = np.einsum("nlm,mnh->lnh", weights, values)
    return out


@pytest.mark.parametrize("backend", ["prefix", "xla", "dense"])
@pytest.mark.parametrize("rule", range(len(RULES)))
@pytest.mark.parametrize("with_past", [False, True])
def test_backends_equal_the_oracle(backend, rule, with_past):
    (query, key, value), past = arrays()
    past = past if with_past else None
    got = frame_attention(query, key, value, RULES[rule], past, backend)
    np.testing.assert_allclose(
        got, oracle(query, key, value, RULES[rule], past), atol=2e-6
    )


def test_gradients_of_the_backends_agree():
    (query, key, value), past = arrays()

    def loss(backend, query, key, value):
        out = frame_attention(query, key, value, RULES[2], past, backend)
        return jnp.sum(jnp.square(out))

    for got, expected in zip(
        *(
            jax.grad(lambda *a, name=name: loss(name, *a), (0, 1, 2))(query, key, value)
            for name in ("prefix", "dense")
        ),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, atol=2e-5)


def test_prefix_does_no_masked_work():
    """A causal query frame meets the keys it may see, not all T of them."""
    (query, key, value), _ = arrays()
    jaxpr = jax.make_jaxpr(
        lambda *a: frame_attention(*a, FrameVisibility("causal"), None, "prefix")
    )(query, key, value)
    logits = [
        eqn.outvars[0].aval.size
        for eqn in equations(jaxpr.jaxpr)
        if eqn.primitive.name == "dot_general"
    ]
    assert sum(logits[::2]) == B * N * L * L * T * (T + 1) // 2


def test_prompt_attention_masks_tokens():
    (query, _, _), _ = arrays()
    rng = np.random.default_rng(2)
    text = jnp.asarray(rng.normal(size=(B, T, 6, N, H)), jnp.float32)
    mask = np.ones((T, 6), bool)
    mask[0] = np.arange(6) == 0
    out = prompt_attention(query, text, text, mask)
    expected = jnp.broadcast_to(text[:, 0, :1], (B, L, N, H))
    np.testing.assert_allclose(out[:, 0], expected, atol=1e-6)
