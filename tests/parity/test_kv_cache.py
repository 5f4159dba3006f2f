"""The recorded frame-by-frame forwards with a cache: ours is the causal memory."""

import jax
import numpy as np
import pytest

from anchoredit_jax import memory as memories
from anchoredit_jax import turn
from anchoredit_jax.diffusion import SamplerConfig, schedule
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models import Transformer, rope

from .conftest import channels_last, golden_config, padded_prompts

FULL = MemoryConfig(0, None, "absolute")
# A cache of 4 frames holds the frame itself; a memory stands beside it.
CASES = {
    "a_global_stride1": FULL,
    "a_global_stride4": FULL,
    "b_local4_sink0_stride4": MemoryConfig(0, 3, "absolute"),
    "b_local4_sink1_stride4": MemoryConfig(1, 2, "absolute"),
    # The cache is large enough for all frames, so the sink is not held and attention
    # is cut to the last 4 frames: what is left is a window without a sink.
    "d_local4_sink1_bigcache_trunc96_stride4": MemoryConfig(0, 3, "absolute"),
}
# Attention cut to the last 100 tokens, 4 frames and 4 tokens of a fifth: we refuse to
# see a part of a frame. Windows are counted in whole frames, at any frame size.
REFUSED = {"c_global_trunc100_stride4"}
TOLERANCE = 2e-4
TOKENS = 24  # of a frame


def test_no_case_is_left_out(golden):
    _, meta = golden("dit_kv_cache")
    assert set(meta["cases"]) == set(CASES) | REFUSED


@pytest.mark.parametrize("name", CASES)
def test_case(golden, golden_params, name):
    arrays, meta = golden("dit_kv_cache")
    stride = meta["cases"][name]["temporal_rope_stride"]
    model = golden_config(temporal_stride=stride, source_prompt="first_prompt")
    text = padded_prompts(arrays["prompt_tokens"])
    sampler = SamplerConfig()
    null = np.zeros(text.shape[2:], np.float32)
    memory = turn.start_memory(
        model, golden_params, channels_last(arrays["first_latent"][:, 0]), text[:, 0],
        null, CASES[name], sampler, max_frames=8,
    )  # fmt: skip

    @jax.jit
    def velocity(memory, x, timestep, prompt):
        past = memories.view(memory)
        beside = turn.beside_memory(model, golden_params, past, prompt)
        return beside(x, timestep)

    @jax.jit
    def commit(memory, x, prompt):
        return turn.commit_frame(model, golden_params, memory, x, prompt, null, sampler)

    largest = 0.0

    def compare(key, frame, got):
        nonlocal largest
        recorded = channels_last(arrays[f"{name}/{key}"][frame][:, 0])
        largest = max(largest, float(np.abs(got - recorded).max()))

    def compare_clean(frame, x, flow):
        """The pass at timestep 0, whose sigma the reference takes from its grid."""
        sigma = schedule.sigma_at(np.zeros(1, np.float32), 1.0)
        compare("flow_t0", frame, flow)
        compare("x0_t0", frame, schedule.velocity_to_x0(x, flow, sigma))

    source = channels_last(arrays["first_latent"][:, 0])
    flow = Transformer(model).apply(
        {"params": golden_params}, source[:, None], np.zeros((1, 1), np.float32),
        text[:, :1], source=True,
    )[:, 0]  # fmt: skip
    compare_clean(0, source, flow)
    for frame in range(1, 8):
        prompt = text[:, frame - 1]
        x = channels_last(arrays["noise"][frame - 1][:, 0])
        for timestep in (750.0, 250.0):
            at = np.full(1, timestep, np.float32)
            flow = velocity(memory, x, at, prompt)
            x0 = schedule.velocity_to_x0(x, flow, at / 1000)
            compare(f"flow_t{timestep:.0f}", frame - 1, flow)
            compare(f"x0_t{timestep:.0f}", frame - 1, x0)
            renoise = channels_last(arrays["renoise"][frame - 1][:, 0])
            x = schedule.add_noise(x0, renoise, np.full(1, 0.25, np.float32))
            if timestep == 750.0:
                compare("noisy_t250", frame - 1, x)
        compare_clean(frame, x0, velocity(memory, x0, np.zeros(1, np.float32), prompt))
        memory = commit(memory, x0, prompt)
        assert int(memory.count[0]) * TOKENS == arrays[f"{name}/end_index"][frame, 0]
    largest = max(largest, *first_layer_deviations(memory, model, arrays, name))
    print(f"{name}: largest deviation {largest:.1e}")
    assert largest < TOLERANCE


def first_layer_deviations(memory, model, arrays, name):
    """Keys, rotated, and values of the frames that both caches hold at the end."""
    view = memories.view(memory)
    cos, sin = rope.rotations(
        np.float32(view.positions) * model.temporal_stride, 4, 6, model.head_dim
    )
    keys, values = rope.rotate(view.keys[0], cos, sin)[0], view.values[0][0]
    recorded_keys = arrays[f"{name}/final_k_layer0"][0].reshape(-1, TOKENS, 2, 32)
    recorded_values = arrays[f"{name}/final_v_layer0"][0].reshape(-1, TOKENS, 2, 32)
    held = arrays[f"{name}/end_index"][-1, 1] // TOKENS
    # Theirs keeps its order: the sinks, then the last ones, the newest at the end.
    sink = CASES[name].sink if held < 8 else 0
    order = [*range(sink), *range(8 - held + sink, 8)]
    for slot, frame in enumerate(np.asarray(memory.frames[0])):
        place = order.index(frame)
        yield float(np.abs(keys[slot] - recorded_keys[place]).max())
        yield float(np.abs(values[slot] - recorded_values[place]).max())


def test_cutting_a_frame_is_not_what_we_do():
    """Every frame that a view shows is shown whole: validity is per frame."""
    memory = memories.init_memory(
        MemoryConfig(1, 2), layers=1, batch=1, tokens=24, heads=1, head_dim=2
    )
    assert memories.view(memory).valid.shape == (1, 3)
