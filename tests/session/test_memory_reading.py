"""What a turn attends to, against what the network's attention was really given."""

import jax
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.models import attention
from anchoredit_jax.session import memory_reading
from anchoredit_jax.session.memory_reading import read_memory
from tests.session.editors import PROMPTS, edited


def test_shares_are_those_of_the_queries_and_keys_that_attention_gets(
    editor, monkeypatch
):
    session = edited(editor, PROMPTS)  # 6 turns: the window of 2 has rolled
    given = []
    real = attention.frame_attention

    def spied(query, key, value, visibility, past=None, backend="prefix"):
        jax.debug.callback(
            lambda *arrays: given.append([np.asarray(a, np.float64) for a in arrays]),
            query, key, past.keys, past.valid, ordered=True,
        )  # fmt: skip
        return real(query, key, value, visibility, past, backend)

    monkeypatch.setattr(attention, "frame_attention", spied)
    monkeypatch.setattr(memory_reading, "_weights", memory_reading._weights.__wrapped__)
    reading = read_memory(session, 5)
    jax.effects_barrier()
    # Before turn 5: the anchor, and the last two frames, in whatever slots they lie.
    assert reading.frames == (0, 3, 4, 5)
    slots = np.asarray(session.turns[4].memory.frames[0]).tolist()
    assert len(given) == len(reading.weights) == 2
    for ours, (query, key, past, valid) in zip(reading.weights, given, strict=True):
        assert valid.all()
        keys = np.concatenate([past[0], key[0]])  # [frames, L, N, H]
        logits = np.einsum("lnh,fmnh->nlfm", query[0, 0], keys) / np.sqrt(
            keys.shape[-1]
        )
        weights = np.exp(logits - logits.max((2, 3), keepdims=True))
        weights /= weights.sum((2, 3), keepdims=True)
        expected = weights.mean((0, 1))[[slots.index(n) for n in (0, 3, 4)] + [3]]
        np.testing.assert_allclose(ours.reshape(4, -1), expected, atol=1e-6)
    assert reading.shares.sum() == pytest.approx(1, abs=1e-5)


def test_the_first_turn_sees_the_source_and_itself(editor):
    session = edited(editor, PROMPTS[:1])
    reading = read_memory(session, 1)
    assert reading.frames == (0, 1) and reading.weights.shape[:2] == (2, 2)
    assert reading.shares.sum() == pytest.approx(1, abs=1e-5)
    for number in (0, 2):
        with pytest.raises(UserError, match=f"turn {number} has no memory to look"):
            read_memory(session, number)
