"""The UMT5 encoder: masks, positions, numerics, and prompts to embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.tokenizer import PromptTokenizer
from anchoredit_jax.models.umt5 import (
    Umt5Config,
    Umt5Encoder,
    make_umt5_config,
    position_buckets,
)
from anchoredit_jax.models.umt5_text import (
    REMEMBERED,
    Umt5TextEncoder,
    embed_prompts,
)

CONFIG = make_umt5_config("umt5_tiny")
LENGTH = 8


@pytest.fixture(scope="module")
def params():
    ids, mask = np.zeros((1, 4), np.int32), np.ones((1, 4), bool)
    init = jax.jit(Umt5Encoder(CONFIG).init)
    return init(jax.random.key(0), ids, mask)["params"]


def tokenizer_of(vocabulary=CONFIG.vocabulary, length=LENGTH):
    """One id a letter, above those of padding (0) and end (1)."""
    return PromptTokenizer(
        lambda text: [ord(c) % 90 + 2 for c in text], 1, 0, vocabulary, length
    )


def encoder_of(params, batch=3):
    return Umt5TextEncoder(CONFIG, params, tokenizer_of(), batch)


def embed(params, ids, lengths, config=CONFIG):
    """Filled up to [3, 8] or more: one program for all of this file's small inputs."""
    ids, lengths = np.asarray(ids, np.int32), np.asarray(lengths, np.int32)
    rows, tokens = ids.shape
    missing = max(3 - rows, 0)
    filled = np.pad(ids, ((0, missing), (0, max(LENGTH - tokens, 0))))
    lengths = np.pad(lengths, (0, missing), constant_values=1)
    return np.asarray(embed_prompts(config, params, filled, lengths))[:rows, :tokens]


def test_every_layer_has_its_own_weights_and_positions(params):
    assert params["token_embedding"].shape == (384, 32)
    assert params["blocks"]["attn"]["position_table"].shape == (2, 32, 4)
    assert params["blocks"]["ffn"]["gate"]["kernel"].shape == (2, 32, 48)
    for leaf in (
        params["blocks"]["attn"]["position_table"],
        params["blocks"]["attn"]["q"]["kernel"],
    ):
        assert np.abs(leaf[0] - leaf[1]).max() > 0


def test_full_size():
    config = make_umt5_config("umt5_xxl")
    ids, mask = jnp.zeros((1, 512), jnp.int32), jnp.ones((1, 512), bool)
    shapes = jax.eval_shape(Umt5Encoder(config).init, jax.random.key(0), ids, mask)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert 5.6e9 < count < 5.8e9
    hidden = jax.eval_shape(
        lambda params: embed_prompts(config, params, ids, jnp.ones(1, jnp.int32)),
        shapes["params"],
    )
    assert hidden.shape == (1, 512, 4096) and hidden.dtype == jnp.float32


def test_padding_is_neither_seen_nor_given_out(params):
    ids = np.array([[5, 6, 7, 1, 0, 0, 0, 0]])
    short = embed(params, ids, [4])
    noisy = ids.copy()
    noisy[0, 4:] = [9, 8, 7, 6]
    np.testing.assert_array_equal(embed(params, noisy, [4]), short)
    assert not short[0, 4:].any() and (short[0, :4] != 0).all()
    longer = np.pad(ids, ((0, 0), (0, 4)))
    np.testing.assert_allclose(embed(params, longer, [4])[:, :8], short, atol=1e-5)


def test_order_and_direction_show(params):
    a, b = embed(params, [[5, 6, 7], [7, 6, 5]], [3, 3])
    assert np.abs(a[1] - b[1]).max() > 1e-3


def test_each_token_sees_those_before_and_after_it(params):
    base = embed(params, [[5, 6, 7, 8]], [4])
    for place in range(4):
        ids = np.array([[5, 6, 7, 8]])
        ids[0, place] = 20
        changed = np.abs(embed(params, ids, [4]) - base).max(-1)[0]
        assert (changed > 1e-4).all()


def test_position_buckets_of_a_small_table():
    # 8 buckets, 4 a direction: distances 0, 1 alone, then up to 4 and from 4 on.
    offsets = np.array([-9, -4, -3, -2, -1, 0, 1, 2, 3, 4, 9])
    assert position_buckets(offsets, 8, 8).tolist() == [
        3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7,
    ]  # fmt: skip


def test_bfloat16_keeps_float32_where_it_matters(params):
    ids = np.arange(2, 26).reshape(3, 8)
    exact = embed(params, ids, [8, 5, 3])
    config = make_umt5_config("umt5_tiny", dtype="bfloat16")
    rough = embed(params, ids, [8, 5, 3], config)
    assert rough.dtype == np.float32
    deviation = np.abs(rough - exact).max()
    assert 1e-4 < deviation < 0.05 * np.abs(exact).max()
    # Stored in bfloat16, as published: the program must not ask for float32.
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    stored = embed(half, ids, [8, 5, 3])
    assert np.abs(stored - exact).max() < 0.05 * np.abs(exact).max()


def test_softmax_is_float32_with_logits_beyond_bfloat16(params):
    # A softmax does not see a constant; bfloat16 cannot tell 256.75 from 256.
    def with_positions(constant, own):
        table = np.full((2, 32, 4), constant, np.float32)
        table[:, 0] += own
        attention = {**params["blocks"]["attn"], "position_table": jnp.asarray(table)}
        changed = {**params, "blocks": {**params["blocks"], "attn": attention}}
        config = make_umt5_config("umt5_tiny", dtype="bfloat16")
        return embed(changed, [[5, 6]], [2], config)

    exact = with_positions(0.0, 0.75)
    np.testing.assert_allclose(with_positions(256.0, 0.75), exact, atol=0.02)
    assert np.abs(with_positions(256.0, 0.0) - exact).max() > 0.05


def test_texts_become_padded_embeddings(params):
    encoder = encoder_of(params)
    out = encoder.encode(["red", "blue hat"])
    assert (encoder.length, encoder.dim) == (8, 32)
    assert out.shape == (2, 8, 32) and out.dtype == np.float32
    assert (out[0, :4] != 0).any(-1).all() and not out[0, 4:].any()
    ids, lengths = tokenizer_of().encode(["red", "blue hat"])
    np.testing.assert_allclose(out, embed(params, ids, lengths), atol=1e-5)
    assert encoder.encode([]).shape == (0, 8, 32)


def test_the_null_instruction_is_the_end_token_alone(params):
    (null,) = encoder_of(params).encode([""])
    expected = embed(params, [[1] + [0] * 7], [1])[0]
    np.testing.assert_array_equal(null, expected)
    assert null[0].any() and not null[1:].any()


def test_one_program_serves_every_prompt_and_number_of_prompts(params):
    encoder = encoder_of(params, batch=3)
    encoder.encode(["first"])  # may compile
    programs = embed_prompts._cache_size()
    encoder.encode(["a", "bc", "", "d e", "fg", "hi"])
    encoder.encode(["one"])
    assert embed_prompts._cache_size() == programs


def test_a_text_does_not_depend_on_its_neighbours(params):
    texts = ["red", "", "blue", "red", "green"]
    together = encoder_of(params, batch=3).encode(texts)
    for text, row in zip(texts, together, strict=True):
        alone = encoder_of(params, batch=3).encode([text])[0]
        np.testing.assert_allclose(row, alone, atol=1e-6)
    np.testing.assert_array_equal(together[0], together[3])


def test_a_text_seen_before_is_not_encoded_again(params, monkeypatch):
    encoder = encoder_of(params, batch=3)
    first = encoder.encode(["red", "", "red"])
    first_copy = first.copy()
    first[:] = 7.0  # the caller's own: what is remembered must not change

    def refuse(texts):
        raise AssertionError(f"encoded again: {texts}")

    monkeypatch.setattr(encoder, "_embed", refuse)
    np.testing.assert_array_equal(encoder.encode(["red", "", "red"]), first_copy)


def test_only_so_many_prompts_are_remembered(params, monkeypatch):
    encoder = encoder_of(params, batch=1)
    monkeypatch.setattr(
        encoder, "_embed", lambda texts: [np.ones((1, 32), np.float32)] * len(texts)
    )
    assert encoder.encode([str(i) for i in range(REMEMBERED + 9)]).any((1, 2)).all()
    assert len(encoder._remembered) == REMEMBERED


def test_nothing_is_moved_behind_the_back(params):
    encoder = encoder_of(params)
    with jax.transfer_guard("disallow"):
        encoder.encode(["red"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_umt5_config("umt5_xl"), "known: umt5_tiny, umt5_xxl"),
        (lambda: make_umt5_config("umt5_tiny", num_heads=5), "into 5 heads"),
        (lambda: make_umt5_config("umt5_tiny", dtype="float16"), "given 'float16'"),
        (lambda: Umt5TextEncoder(CONFIG, {}, tokenizer_of(385)), "385 tokens.* 384"),
        (lambda: Umt5TextEncoder(CONFIG, {}, tokenizer_of(), 0), "batch .*got 0"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_the_attention_may_be_wider_than_the_model():
    config = Umt5Config(9, 8, 24, 8, 3, 1)
    ids, mask = np.zeros((2, 5), np.int32), np.ones((2, 5), bool)
    shapes = jax.eval_shape(Umt5Encoder(config).init, jax.random.key(0), ids, mask)
    attention = shapes["params"]["blocks"]["attn"]
    assert attention["q"]["kernel"].shape == (1, 8, 24)
    assert attention["o"]["kernel"].shape == (1, 24, 8)
