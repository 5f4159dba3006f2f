"""The recorded multi-turn sessions, few-step and Euler, draw by draw."""

import jax
import numpy as np
import pytest

from anchoredit_jax import turn
from anchoredit_jax.diffusion import SamplerConfig, samplers
from anchoredit_jax.memory import MemoryConfig

from .conftest import channels_last, golden_config, padded_prompts

TURNS = 6
FULL = MemoryConfig(0, None, "absolute")
SINK, NO_SINK = MemoryConfig(1, 2, "absolute"), MemoryConfig(0, 3, "absolute")
CASES = {
    "few_global_shift1": FULL,
    "few_global_shift5": FULL,
    "few_global_shift5_cfg2": FULL,
    "few_window4_sink0_evict_shift5": NO_SINK,
    "few_window4_sink1_evict_shift1": SINK,
    "few_window4_sink1_evict_shift5": SINK,
    # A cache with room for all turns never evicts: the window has no effect.
    "few_window4_sink1_shipped_cache": FULL,
    # .. and attention cut to the last 96 tokens loses the sink.
    "few_window4_sink1_bigcache_trunc96_shift5": NO_SINK,
    "euler_global_cfg3_shift1": FULL,
    "euler_global_cfg3_shift5": FULL,
    "euler_global_nocfg_shift5": FULL,
    "euler_window4_sink1_evict_cfg3_shift5": SINK,
}
TOLERANCE = 2e-4


def sampler_of(case) -> SamplerConfig:
    guidance = case["guidance_scale"]
    if case["kind"] == "euler":
        return SamplerConfig(
            "euler", case["num_inference_steps"], case["timeshift"], guidance
        )
    return SamplerConfig(
        "few_step",
        guidance=guidance,
        timesteps=tuple(float(t) for t in case["denoising_step_list"]),
        snap_shift=case["timeshift"],
    )


def steps_of(arrays, name, turn_index):
    """The recorded steps of a turn, where they were kept: a list of none or one."""
    if f"{name}/states_turn1" in arrays:
        return [arrays[f"{name}/states_turn1"]] if turn_index == 0 else []
    kept = arrays.get(f"{name}/pred_x0_steps", ())
    return [kept[turn_index]] if turn_index < len(kept) else []


@pytest.mark.parametrize("name", [name for name in CASES if "euler" in name])
def test_steps_of_the_sampler(golden, name):
    arrays, meta = golden("rollout")
    timesteps, sigmas = sampler_of(meta["cases"][name]).schedule
    np.testing.assert_allclose(timesteps, arrays[f"{name}/timesteps"], atol=1e-3)
    np.testing.assert_allclose(sigmas, arrays[f"{name}/sigmas"], atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_session(golden, golden_params, name):
    arrays, meta = golden("rollout")
    assert set(meta["cases"]) == set(CASES)
    case, config = meta["cases"][name], CASES[name]
    sampler = sampler_of(case)
    model = golden_config(
        temporal_stride=case["temporal_rope_stride"], source_prompt="first_prompt"
    )
    text = padded_prompts(arrays["prompt_tokens"])[:, None]  # [turns, 1, S, D]
    null = padded_prompts(arrays["neg_tokens"])
    source = channels_last(arrays["first_latent"][:, 0])
    settings = (model, golden_params)
    start = jax.jit(
        lambda prompt: turn.start_memory(
            *settings, source, prompt, null, config, sampler, max_frames=TURNS + 1
        )
    )
    commit = jax.jit(
        lambda memory, frame, prompt: turn.commit_frame(
            *settings, memory, frame, prompt, null, sampler
        )
    )

    @jax.jit
    def draw(memory, text, null, noise):
        velocity = turn.guided_velocity(*settings, memory, text, null, sampler)
        return samplers.sample(velocity, noise, sampler)

    memory, latents, largest = start(text[0]), [], 0.0
    for index in range(TURNS):
        if case["kind"] == "euler":
            # The reference re-encodes all history under the current prompt.
            memory = start(text[index])
            for frame in latents:
                memory = commit(memory, frame, text[index])
            noise = arrays["euler_init_noise"][index][None]
        else:
            first = arrays["dmd_init_noise"][index][None]
            noise = np.concatenate([first, arrays["dmd_renoise"][index]])
        noise = channels_last(noise)[:, None]
        frame, path = draw(memory, text[index], null, noise)
        recorded = channels_last(arrays[f"{name}/latents"][index])
        pairs = [(frame[0], recorded)]
        for recorded in steps_of(arrays, name, index):
            pairs.append((path[:, 0], channels_last(recorded)))
        largest = max(largest, *(float(np.abs(a - b).max()) for a, b in pairs))
        latents.append(frame)
        memory = commit(memory, frame, text[index])
    print(f"{name}: largest deviation {largest:.1e}")
    assert largest < TOLERANCE
