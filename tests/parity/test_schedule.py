"""The recorded scheduler grids and operations."""

import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.diffusion import schedule

GRIDS = (
    "s1000_shift1", "s1000_shift3", "s1000_shift5", "s1000_shift8", "s10_shift5",
    "s48_shift5", "s50_shift1", "s50_shift5",
)  # fmt: skip
# On these grids the timesteps named lie, within float32 rounding, midway between two
# grid points, so either neighbour is right (the recorded numbers' own page says so).
TIES = {"s1000_shift1": (640.5,), "s50_shift1": (750.0, 250.0)}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("times", ["t_float", "t_int"])
def test_grid(golden, name, times):
    arrays, meta = golden("scheduler")
    assert set(meta["grids"]) == set(GRIDS)
    settings = meta["grids"][name]
    sigmas = schedule.make_sigmas(settings["num_inference_steps"], settings["shift"])
    np.testing.assert_allclose(sigmas, arrays[f"{name}/sigmas"], atol=1e-6)
    deviation = np.abs(sigmas - arrays[f"{name}/sigmas"]).max()
    print(f"{name}: largest deviation of a sigma {deviation:.1e}")
    np.testing.assert_allclose(1000 * sigmas, arrays[f"{name}/timesteps"], atol=1e-3)
    timesteps = arrays[times].astype(np.float32)
    recorded = arrays[f"{name}/sigmas"][arrays[f"{name}/nearest_id_{times}"]]
    snapped = np.asarray(schedule.snap_sigma(jnp.asarray(timesteps), sigmas))
    tied = np.isin(timesteps, TIES.get(name, ()))
    np.testing.assert_allclose(snapped[~tied], recorded[~tied], atol=1e-6)
    spacing = 1.0 / settings["num_inference_steps"]
    np.testing.assert_allclose(snapped[tied], recorded[tied], atol=spacing * 1.01)
    x, noise = arrays["x"], arrays["noise"]
    np.testing.assert_allclose(
        schedule.add_noise(x, noise, jnp.asarray(recorded)),
        arrays[f"{name}/add_noise_{times}"],
        atol=1e-6,
    )


@pytest.mark.parametrize("name", GRIDS)
def test_steps_and_conversions(golden, name):
    arrays, meta = golden("scheduler")
    settings = meta["grids"][name]
    sigmas = arrays[f"{name}/sigmas"]
    index = arrays[f"{name}/nearest_id_t_float"]
    sigma = jnp.asarray(sigmas[index])
    following = jnp.asarray(np.append(sigmas[1:], 0.0).astype(np.float32)[index])
    x, flow = arrays["x"], arrays["flow"]
    for key, end in (("step_single_t_float", following), ("step_to_final", 0 * sigma)):
        np.testing.assert_allclose(
            schedule.euler_step(x, flow, sigma, end), arrays[f"{name}/{key}"], atol=1e-6
        )
    # The reference finishes a whole batch as soon as one of its elements is at the last
    # grid point; ours is per element, so the quirk is replayed here.
    for key, count in (("step_batch_t_float", 12), ("step_batch_no_last", 8)):
        finished = (index[:count] == len(sigmas) - 1).any()
        end = 0 * following if finished else following
        np.testing.assert_allclose(
            schedule.euler_step(x, flow, sigma, end)[:count],
            arrays[f"{name}/{key}"],
            atol=1e-6,
        )
    if settings["training"]:
        np.testing.assert_allclose(
            schedule.velocity_to_x0(x, flow, sigma),
            arrays[f"{name}/flow_to_x0"],
            atol=1e-5,
        )
        np.testing.assert_allclose(
            schedule.x0_to_velocity(x, flow, sigma),
            arrays[f"{name}/x0_to_flow"],
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("name", [name for name in GRIDS if "s1000" in name])
def test_training_weights(golden, name):
    arrays, meta = golden("scheduler")
    shift = meta["grids"][name]["shift"]
    np.testing.assert_allclose(
        schedule.bell_weight(arrays[f"{name}/timesteps"], shift),
        arrays[f"{name}/train_weights"],
        atol=2e-5,
    )
    snapped = arrays[f"{name}/timesteps"][arrays[f"{name}/nearest_id_t_float"]]
    np.testing.assert_allclose(
        schedule.bell_weight(snapped, shift),
        arrays[f"{name}/training_weight_t_float"],
        atol=2e-5,
    )


def test_the_target_is_the_velocity(golden):
    """What `sequence_loss` asks for: from x, all the way to the noise."""
    arrays, _ = golden("scheduler")
    x, noise = arrays["x"], arrays["noise"]
    one = np.ones(len(x), np.float32)
    target = schedule.x0_to_velocity(schedule.add_noise(x, noise, one), x, one)
    np.testing.assert_allclose(target, arrays["training_target"], atol=1e-6)
