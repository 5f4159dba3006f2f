"""Attention in blocks of queries: the same numbers, never all weights at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.models import softmax
from anchoredit_jax.models.attention import dense_attention
from anchoredit_jax.models.softmax import Group
from anchoredit_jax.testing import equations

B, T, F, L, N, H = 2, 2, 3, 64, 2, 4


def arrays():
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    query = normal(B, T, L, N, H)
    mask = jnp.array([[[True, False, True], [True, True, False]]])
    return query, normal(B, F, L, N, H), normal(B, F, L, N, H), mask


def with_gradients(attend, masked):
    query, key, value, mask = arrays()

    def loss(query, key, value):
        out = attend(query, key, value, mask if masked else None)
        return jnp.sum(jnp.sin(out)), out

    return jax.grad(loss, (0, 1, 2), has_aux=True), (query, key, value)


def in_one_group(query, key, value, mask):
    group = Group(0, T, tuple(range(F)))
    return softmax.softmax_attention(query, key, value, (mask,), (group,))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("blocks", [1, 2])
def test_blocks_equal_the_oracle(monkeypatch, masked, blocks):
    monkeypatch.setattr(softmax, "BLOCK", B * N * T * L * F * L // blocks)
    gradient, inputs = with_gradients(in_one_group, masked)
    got = gradient(*inputs)
    oracle, _ = with_gradients(dense_attention, masked)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), got, oracle(*inputs)
    )


def test_no_array_is_larger_than_a_block(monkeypatch):
    monkeypatch.setattr(softmax, "BLOCK", B * N * L * F * L)
    gradient, inputs = with_gradients(in_one_group, True)
    sizes = [
        variable.aval.size
        for equation in equations(jax.make_jaxpr(gradient)(*inputs).jaxpr)
        for variable in equation.outvars
    ]
    assert max(sizes) == softmax.BLOCK


@pytest.mark.parametrize(
    ("queries", "keys", "blocks"),
    [
        (1024, 1024, 1),  # 2^20 weights
        (4096, 1024, 2),
        (2 * 3 * 64, 2**20, 6),  # at least 64 rows
        (67, 2**20, 1),  # a prime
    ],
)
def test_blocks_are_few_and_equal(queries, keys, blocks):
    query, key = jnp.zeros((1, 1, queries, 0)), jnp.zeros((1, 1, keys, 0))
    assert softmax._count(query, key) == blocks
