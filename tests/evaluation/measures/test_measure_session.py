"""A session's measures: what counts, against what, and what does not apply."""

import numpy as np
import pytest

from anchoredit_jax.data.pixel_error import MAX_PSNR
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures import (
    MEASURES,
    describe_features,
    identity_drift,
    measure_session,
    ssim,
)

RNG = np.random.default_rng(0)
SIZE = 32
FIDELITY = ("identity_psnr", "identity_ssim", "consistency_psnr", "consistency_ssim")


@pytest.fixture
def truth():
    """Three edits: of a square, of the same square again, of a column elsewhere."""
    source = RNG.integers(60, 190, (SIZE, SIZE, 3), np.uint8)
    frames = np.stack([source] * 4)
    frames[1:, :10, :10] = 250
    frames[2:, :10, :10] = 5
    frames[3:, :, -4:] = 0
    return frames


def test_every_measure_has_a_float64_value_a_turn_in_the_tables_order(truth):
    values = measure_session(truth, truth)
    assert list(values) == [measure.name for measure in MEASURES]
    assert all(v.shape == (3,) and v.dtype == np.float64 for v in values.values())
    assert list(measure_session(truth)) == list(values)


def test_a_perfect_session(truth):
    values = measure_session(truth, truth)
    for name in FIDELITY:
        best = 1.0 if name.endswith("ssim") else MAX_PSNR
        np.testing.assert_array_equal(values[name], best)


def test_pixels_that_the_truth_changes_do_not_count(truth):
    frames = truth.copy()
    frames[1:, :, 10:] += 4  # a loss that counts
    spoilt = frames.copy()
    spoilt[1:, :10, :10] = RNG.integers(0, 256, (3, 10, 10, 3))
    expected, values = measure_session(frames, truth), measure_session(spoilt, truth)
    for name in ("identity_psnr", "identity_ssim"):
        np.testing.assert_array_equal(values[name], expected[name])
    # Turn 3 does not touch the square: there a change is a loss.
    assert values["consistency_psnr"][2] < expected["consistency_psnr"][2]
    np.testing.assert_array_equal(
        values["consistency_psnr"][:2], expected["consistency_psnr"][:2]
    )


def test_psnr_is_of_the_pixels_left_alone(truth):
    frames = truth.copy()
    frames[1:, -1] += 16
    left = SIZE**2 - 100
    mse = (16 / 255) ** 2 * np.array([SIZE, SIZE, SIZE - 4])
    kept = np.array([left, left, left - 4 * SIZE])
    values = measure_session(frames, truth)
    # In turn 3 the last column of the truth changes, so does the sum of 4 pixels there.
    np.testing.assert_allclose(
        values["identity_psnr"], -10 * np.log10(mse / kept), atol=1e-4
    )


def test_ssim_is_of_the_pixels_left_alone(truth):
    noise = RNG.integers(-9, 10, truth[1:].shape)
    frames = truth.copy()
    frames[1:] = np.clip(truth[1:] + noise, 0, 255)
    values = measure_session(frames, truth)
    for turn in (1, 2, 3):
        for name, at in (("identity", 0), ("consistency", turn - 1)):
            kept = (truth[turn] == truth[at]).all(-1)
            expected = ssim(frames[turn], frames[at], kept)
            assert 0.5 < expected < 1
            assert values[f"{name}_ssim"][turn - 1] == expected


def test_identity_remembers_what_consistency_forgets(truth):
    frames = truth.copy()
    frames[1:, 20:, 12:20] += 30  # spoilt in turn 1, and kept so
    values = measure_session(frames, truth)
    assert values["consistency_psnr"][0] < 40 and values["identity_psnr"][0] < 40
    assert (values["consistency_psnr"][1:] == MAX_PSNR).all()
    assert (values["consistency_ssim"][1:] == 1).all()
    assert (values["identity_psnr"] < 40).all() and (values["identity_ssim"] < 1).all()


def test_without_truth_only_whole_images_are_measured(truth):
    known, values = measure_session(truth, truth), measure_session(truth)
    for name, value in values.items():
        if name in FIDELITY:
            assert np.isnan(value).all()
        else:
            np.testing.assert_array_equal(value, known[name])


def test_where_nothing_is_left_alone_nothing_applies(truth):
    truth[2] = 255 - truth[1]  # a new background
    truth[3] = truth[2]
    values = measure_session(truth, truth)
    for name in FIDELITY:
        applies = [True, False, name.startswith("consistency")]
        np.testing.assert_array_equal(~np.isnan(values[name]), applies)


def test_scattered_pixels_have_a_psnr_but_no_window(truth):
    truth[1:] = truth[0]
    truth[1, ::5, ::5] ^= 128
    values = measure_session(truth[:2], truth[:2])
    assert values["identity_psnr"] == MAX_PSNR and np.isnan(values["identity_ssim"])


def test_differences_are_of_whole_images_in_levels_of_255():
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    frames[1:, :4] = 255
    frames[3, 4:] = 51
    values = measure_session(frames)
    np.testing.assert_allclose(values["source_difference"], [127.5, 127.5, 153.0])
    np.testing.assert_allclose(values["previous_difference"], [127.5, 0.0, 25.5])


def test_identity_drift_tells_a_constant_loss_from_one_that_compounds():
    source = RNG.integers(60, 190, (8, 8, 3), np.uint8)
    constant = np.stack([source, *[source + 2] * 4])
    growing = np.stack([source + 3 * turn for turn in range(5)])
    falling = np.stack([source - 3 * turn for turn in range(5)])
    np.testing.assert_array_equal(identity_drift(constant), [2, 2, 2, 2])
    np.testing.assert_array_equal(identity_drift(growing), [3, 6, 9, 12])
    np.testing.assert_array_equal(identity_drift(falling), [3, 6, 9, 12])


def test_images_smaller_than_the_window_are_measured():
    frames = RNG.integers(0, 256, (3, 5, 7, 3), np.uint8)
    truth = np.stack([frames[0]] * 3)
    assert all(np.isfinite(v).all() for v in measure_session(frames, truth).values())


@pytest.mark.parametrize(
    "frames", [np.zeros((1, 8, 8, 3), np.uint8), np.zeros((3, 8, 8, 3)), [1, 2]]
)
def test_frames_of_another_kind_are_refused(frames):
    for measure in (measure_session, identity_drift):
        with pytest.raises(UserError, match="frames must be uint8"):
            measure(frames)


def test_truth_of_another_kind_is_refused(truth):
    with pytest.raises(UserError, match="shape of frames"):
        measure_session(truth, truth[:3])
    with pytest.raises(UserError, match="truth must be uint8"):
        measure_session(truth, truth / 255)


def test_measures_are_described():
    described = (*MEASURES, *describe_features("clip"))
    names = [measure.name for measure in described]
    assert len(set(names)) == len(names) and names[-2:] == [
        "clip_source",
        "clip_previous",
    ]
    assert len({measure.title for measure in described}) == len(described)
    assert MEASURES[0].heading == f"{MEASURES[0].title} (dB)"
    assert MEASURES[1].heading == MEASURES[1].title
    better = {m.name for m in described if m.higher_is_better}
    assert better == {*FIDELITY, "clip_source", "clip_previous"}
