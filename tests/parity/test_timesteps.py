"""The recorded per-frame timestep sampler, draw by draw."""

import numpy as np
import pytest

from anchoredit_jax.diffusion.timesteps import TimestepConfig, frame_timesteps

CASES = (
    "code_defaults", "code_defaults_nonmonotonic", "monotonic_one_frame",
    "monotonic_two_frames", "shipped_monotonic", "shipped_monotonic_shift5",
    "shipped_nonmonotonic",
)  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_timesteps(golden, name):
    arrays, meta = golden("timesteps")
    assert set(meta["cases"]) == set(CASES)
    case = meta["cases"][name]
    config = TimestepConfig(
        lower_min=case["first_frame_noise_min_ratio"],
        lower_max=case["first_frame_noise_max_ratio"],
        last_min=case["u_last_max_min_ratio"],
        shift=case["timestep_shift"],
        monotonic=case["monotonic_timestep"],
        minimum=float(meta["min_step"]),
        maximum=float(meta["max_step"]),
        truncate=True,
    )
    got = frame_timesteps(
        *(arrays[f"{name}/rand_{draw}"] for draw in ("last", "lower", "frame")), config
    )
    deviation = np.abs(np.asarray(got) - arrays[f"{name}/timesteps"]).max()
    print(f"{name}: largest deviation {deviation}")
    assert deviation == 0
