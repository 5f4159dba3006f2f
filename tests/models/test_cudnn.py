"""cuDNN's attention: refused where it cannot be, equal to the oracle on a GPU."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.models.attention import Past, frame_attention

RULES = {
    "bidirectional": FrameVisibility("bidirectional"),
    "causal": FrameVisibility("causal"),
    "window and sink": FrameVisibility("causal", window=3, sink=1),
    "teacher forcing": FrameVisibility("teacher_forcing"),
    "by sample": FrameVisibility(
        "causal", choices=((2, 1), (None, 0)), choice=jnp.array([0, 1])
    ),
}


def arrays(frames=6, tokens=64, heads=2, width=64, batch=2):
    rng = np.random.default_rng(0)
    shape = (batch, frames, tokens, heads, width)
    return [jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for _ in "qkv"]


def test_float32_is_refused():
    query, key, value = (x.astype(jnp.float32) for x in arrays(2, 4))
    with pytest.raises(UserError, match="bfloat16 or float16, not in float32"):
        frame_attention(query, key, value, RULES["causal"], backend="cudnn")


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
@pytest.mark.parametrize("with_past", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_equals_the_oracle(rule, with_past):
    query, key, value = arrays()
    past = None
    if with_past:
        past = Past(key[:, :3], value[:, 3:], jnp.array([[True, False, True]] * 2))

    def loss(backend, query, key, value):
        out = frame_attention(query, key, value, RULES[rule], past, backend)
        return jnp.sum(jnp.sin(out.astype(jnp.float32)))

    def both(backend, *inputs):
        run = jax.jit(jax.value_and_grad(lambda *a: loss(backend, *a), (0, 1, 2)))
        return run(*inputs)

    value_got, got = both("cudnn", query, key, value)
    wide = [x.astype(jnp.float32) for x in (query, key, value)]
    if past is not None:
        past = jax.tree.map(lambda x: x.astype(jnp.float32) if x.ndim > 2 else x, past)
    with jax.default_matmul_precision("highest"):
        value_want, want = both("dense", *wide)
    assert abs(float(value_got) - float(value_want)) < 0.02 * query.size**0.5
    for name, a, b in zip("qkv", got, want, strict=True):
        scale = float(jnp.abs(b).max())
        worst = float(jnp.abs(a.astype(jnp.float32) - b).max()) / scale
        print(f"{rule}, past {with_past}: gradient of {name} differs by {worst:.1e}")
        assert worst < 0.03


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
def test_is_timed_beside_plain_xla():
    """Printed, not asserted: 6 causal frames of 4,096 tokens, forward and backward."""
    inputs = arrays(6, 4096, heads=8, width=128, batch=1)

    def gradient(backend):
        def loss(query, key, value):
            out = frame_attention(
                query, key, value, FrameVisibility("causal"), backend=backend
            )
            return jnp.sum(out.astype(jnp.float32))

        run = jax.jit(jax.grad(loss, (0, 1, 2)))
        jax.block_until_ready(run(*inputs))
        start = time.perf_counter()
        for _ in range(10):
            out = run(*inputs)
        jax.block_until_ready(out)
        return (time.perf_counter() - start) / 10

    times = {backend: gradient(backend) for backend in ("cudnn", "prefix")}
    print({name: f"{1e3 * seconds:.2f} ms" for name, seconds in times.items()})
