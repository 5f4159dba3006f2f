"""The TPU kernel, run step by step on a CPU, against the dense oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models import attention, splash
from anchoredit_jax.models.attention import dense_attention
from anchoredit_jax.models.splash import (
    FrameMask,
    block_sizes,
    splash_frame_attention,
)

B, N = 2, 2
RULES = {
    "bidirectional": FrameVisibility("bidirectional").table(3),
    "causal": FrameVisibility("causal").table(3),
    "window": FrameVisibility("causal", window=2, sink=1).table(4),
    "teacher_forcing": FrameVisibility("teacher_forcing").table(4),
    "beside_a_past": np.array([[1, 0, 1, 0], [1, 0, 1, 1]], bool),  # frame 1: unseen
}


def arrays(seen, tokens, head_dim, batch=B):
    rng = np.random.default_rng(0)

    def normal(frames):
        shape = (batch, frames, tokens, N, head_dim)
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    frames, others = seen.shape
    return normal(frames), normal(others), normal(others), normal(frames)


def with_gradients(attend, query, key, value, weights):
    out, pull = jax.vjp(attend, query, key, value)
    return out, *pull(weights)


def compare(seen, tokens, head_dim, valid=None):
    inputs = arrays(seen, tokens, head_dim)
    mask = jnp.asarray(seen)[None]
    if valid is not None:
        mask = mask & valid[:, None]

    def attend(query, key, value):
        return splash_frame_attention(query, key, value, seen, valid, interpret=True)

    def oracle(query, key, value):
        return dense_attention(query, key, value, mask)

    same(attend, oracle, inputs)


def same(attend, oracle, inputs):
    """The output and all gradients."""
    got = jax.jit(lambda *x: with_gradients(attend, *x))(*inputs)
    expected = jax.jit(lambda *x: with_gradients(oracle, *x))(*inputs)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize("rule", RULES)
def test_the_kernel_and_its_gradients_equal_the_oracle(rule):
    compare(RULES[rule], tokens=128, head_dim=64)


@pytest.mark.parametrize("tokens", [40, 300])
def test_frames_are_padded_to_blocks(tokens):
    compare(RULES["causal"], tokens, head_dim=32)


def test_frames_a_sample_does_not_have_are_hidden():
    past = np.ones((2, 2), bool)
    seen = np.concatenate([past, FrameVisibility("causal").table(2)], 1)
    valid = jnp.array([[True, False, True, True], [False, False, True, True]])
    compare(seen, 100, 128, valid)


CHOICES = ((None, 0), (2, 0), (3, 1), (2, 1))


@pytest.mark.parametrize("tokens", [128, 200])
@pytest.mark.parametrize("mode", ["causal", "history_and_targets"])
def test_samples_choose_their_rules(mode, tokens):
    """Each gets what its own rule alone gives, and the gradients of that."""
    rule = FrameVisibility(mode, choices=CHOICES, choice=jnp.array([2, 0, 3, 1, 2]))
    seen = rule.tables(6)
    inputs = arrays(seen[0], tokens, 32, batch=5)

    def attend(*inputs):
        choice = rule.choice
        return splash_frame_attention(*inputs, seen, None, choice, interpret=True)

    def oracle(*inputs):
        return dense_attention(*inputs, rule.sample_table(6))

    same(attend, oracle, inputs)


def test_samples_choose_their_rules_beside_a_past():
    own = FrameVisibility(choices=CHOICES).tables(3)
    seen = np.pad(own, ((0, 0), (0, 0), (2, 0)), constant_values=True)
    choice = jnp.array([2, 1])
    valid = jnp.array(
        [[True, False, True, True, True], [False, True, True, True, True]]
    )
    mask = jnp.asarray(seen)[choice] & valid[:, None]

    def attend(*inputs):
        return splash_frame_attention(*inputs, seen, valid, choice, interpret=True)

    same(attend, lambda *x: dense_attention(*x, mask), arrays(seen[0], 100, 32))


def test_a_chosen_rule_works_its_own_blocks():
    """As many as a kernel made for this rule alone, in the tables of the same size."""
    rules = FrameVisibility(choices=CHOICES).tables(6)
    padded, _, sizes = block_sizes(4096, 4096, splash.BLOCKS["v5p"])
    masks = tuple(FrameMask(rule, padded, 4096, padded) for rule in rules)
    kernel = splash._kernel_of_choices(masks, 8, sizes, True)
    for number, mask in enumerate(masks):
        chosen, alone = (
            splash._with_tables(
                kernel, jax.tree.map(lambda x, n=number: x[n], splash._tables(kernel))
            ),
            splash._kernel(mask, 8, sizes, True),
        )
        for name in ("fwd_mask_info", "dq_mask_info", "dkv_mask_info"):
            ours, theirs = (getattr(k, name).block_mask for k in (chosen, alone))
            assert np.count_nonzero(ours) == np.count_nonzero(theirs)


def test_the_dtype_is_that_of_the_values():
    seen = RULES["causal"]
    exact = arrays(seen, 128, 64)[:3]
    query, key, value = (x.astype(jnp.bfloat16) for x in exact)
    out = splash_frame_attention(
        query.astype(jnp.float32), key, value, seen, interpret=True
    )
    assert out.dtype == jnp.bfloat16
    expected = dense_attention(*exact, jnp.asarray(seen)[None])
    np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.02)


@pytest.mark.parametrize("padded", [5, 8])
def test_slices_of_the_mask_are_those_of_the_whole(padded):
    seen, tokens = RULES["teacher_forcing"][:, :3], 5
    real = np.arange(padded) < tokens
    whole = np.kron(seen, np.broadcast_to(real, (padded, padded))).astype(bool)
    mask = FrameMask(seen, padded, tokens, padded)
    assert mask.shape == whole.shape
    edges = [0, 1, padded - 2, padded, padded + 1, 3 * padded]
    for start in edges:
        for stop in edges:
            rows, columns = slice(start, stop), slice(stop, start + padded)
            np.testing.assert_array_equal(mask[rows, :], whole[rows, :])
            np.testing.assert_array_equal(mask[:, columns], whole[:, columns])
            np.testing.assert_array_equal(mask[rows, columns], whole[rows, columns])


def test_masks_are_equal_by_what_they_say():
    seen = RULES["causal"]
    mask = FrameMask(seen, 8, 5, 8)
    assert mask == FrameMask(seen.copy(), 8, 5, 8)
    assert hash(mask) == hash(FrameMask(seen.copy(), 8, 5, 8))
    assert mask != FrameMask(seen.T, 8, 5, 8)
    assert mask != FrameMask(seen, 8, 6, 8)
    assert mask != FrameMask(seen, 8, 5, 9)


@pytest.mark.parametrize("tokens", [1560, 4096])
def test_blocks_of_frames_that_are_not_seen_are_left_out(tokens):
    """At the size of a real clip: its tables are made in seconds, and are small."""
    seen = FrameVisibility("causal").table(6)
    padded, _, sizes = block_sizes(tokens, tokens, splash.BLOCKS["v5p"])
    mask = FrameMask(seen, padded, tokens, padded)
    kernel = splash._kernel(mask, 8, sizes, True)
    tables = {
        "forward": (kernel.fwd_mask_info, sizes.block_q, sizes.block_kv),
        "dq": (kernel.dq_mask_info, sizes.block_q_dq, sizes.block_kv_dq),
        "dkv": (kernel.dkv_mask_info, sizes.block_q_dkv, sizes.block_kv_dkv),
    }
    for table, of_queries, of_keys in tables.values():
        dense = (6 * padded // of_queries) * (6 * padded // of_keys)
        worked = np.count_nonzero(table.block_mask)
        assert worked == dense * 21 // 36 <= 0.6 * dense
        partial = table.partial_mask_blocks
        assert partial is None if padded == tokens else len(partial) == 1


@pytest.mark.parametrize("tokens", [1, 60, 128, 300, 1560, 3600, 4096])
@pytest.mark.parametrize("chip", splash.BLOCKS)
def test_blocks_are_legal(tokens, chip):
    most = splash.BLOCKS[chip]
    padded, of_key, sizes = block_sizes(tokens, tokens, most)
    assert padded == of_key
    assert tokens <= padded < 1.35 * tokens + 128
    for block, limit in [
        (sizes.block_q, most.query),
        (sizes.block_kv, most.key),
        (sizes.block_kv_compute, most.compute),
        (sizes.block_q_dq, most.query),
        (sizes.block_kv_dq, most.compute),
    ]:
        assert block <= limit and block % 128 == 0 and padded % block == 0
    assert sizes.block_kv % sizes.block_kv_compute == 0


def test_a_rule_of_another_shape_is_refused():
    query, key, value, _ = arrays(RULES["causal"], 4, 4)
    with pytest.raises(ValueError, match=r"seen must be \[T, F\] = \(3, 3\)"):
        splash_frame_attention(query, key, value, RULES["window"])


def test_a_frame_that_sees_nothing_is_refused():
    query, key, value, _ = arrays(RULES["causal"], 4, 4)
    with pytest.raises(ValueError, match=r"query frames \[0\] see no frame"):
        splash_frame_attention(query, key, value, np.tri(3, k=-1, dtype=bool))


def test_the_backend_hands_on_the_rule_and_the_past(monkeypatch):
    """What `frame_attention` gives to the kernel, and when it does not."""
    taken = []

    def spy(*arguments):
        taken.append(arguments[3:])
        return splash_frame_attention(*arguments, interpret=True)

    monkeypatch.setattr(attention, "splash_frame_attention", spy)
    rng = np.random.default_rng(0)
    query, key, value = (
        jnp.asarray(rng.normal(size=(1, 2, 8, 1, 8)), jnp.float32) for _ in "qkv"
    )
    past = attention.Past(key + 1, value + 1, jnp.array([[True, False]]))
    rule = FrameVisibility("causal")
    for given in (None, past):
        got = attention.frame_attention(query, key, value, rule, given, "splash")
        want = attention.frame_attention(query, key, value, rule, given, "dense")
        np.testing.assert_allclose(got, want, atol=2e-5)
    assert taken[0][1] is None
    np.testing.assert_array_equal(taken[1][1], [[True, False, True, True]])
    np.testing.assert_array_equal(taken[1][0], [[1, 1, 1, 0], [1, 1, 1, 1]])
    for choices in (((1, 0), (None, 0)), ((None, 0), (2, 0))):  # the latter are alike
        rule = FrameVisibility(choices=choices, choice=jnp.array([0]))
        got = attention.frame_attention(query, key, value, rule, past, "splash")
        want = attention.frame_attention(query, key, value, rule, past, "dense")
        np.testing.assert_allclose(got, want, atol=2e-5)
    assert taken[2][0].shape == (2, 2, 4) and taken[2][2].shape == (1,)
    assert taken[3][0].shape == (2, 4) and taken[3][2] is None
