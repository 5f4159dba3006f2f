"""Saturation, luminance and detail against turn 0's, on images made for each."""

import numpy as np
import pytest
from scipy import ndimage

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures.tone import (
    high_frequency_energy,
    luma,
    mean_saturation,
    tone_changes,
)

RNG = np.random.default_rng(0)


def flat(red, green, blue, size=16):
    return np.broadcast_to(np.array([red, green, blue], np.uint8), (size, size, 3))


def texture(size=64):
    """Random detail at all scales, of middle contrast."""
    values = sum(
        ndimage.gaussian_filter(RNG.normal(size=(size, size)), sigma, mode="wrap")
        * sigma
        for sigma in (1, 2, 4, 8)
    )
    grey = np.clip(128 + 30 * values, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, -1)


def test_saturation_is_that_of_hsv():
    assert mean_saturation(flat(200, 100, 50)) == pytest.approx(0.75)
    assert mean_saturation(flat(255, 0, 0)) == 1.0
    assert mean_saturation(flat(90, 90, 90)) == 0.0
    assert mean_saturation(flat(0, 0, 0)) == 0.0


def test_luma_is_that_of_rec_709():
    for colour, expected in (
        ((255, 0, 0), 0.2126),
        ((0, 255, 0), 0.7152),
        ((0, 0, 255), 0.0722),
        ((255, 255, 255), 1.0),
    ):
        assert luma(flat(*colour))[3, 5] == pytest.approx(expected, abs=1e-6)


def test_saturation_and_luminance_are_differences_to_turn_0():
    ramp = np.repeat(np.arange(0, 101, dtype=np.uint8)[:, None], 3, 1)[None]
    frames = np.stack([ramp, ramp + 51, 2 * ramp])
    changes = tone_changes(frames)
    np.testing.assert_allclose(changes["luminance_p05"], [0.2, 5 / 255], atol=1e-6)
    np.testing.assert_allclose(changes["luminance_p50"], [0.2, 50 / 255], atol=1e-6)
    np.testing.assert_allclose(changes["luminance_p95"], [0.2, 95 / 255], atol=1e-6)
    frames = np.stack([flat(200, 100, 100), flat(200, 50, 50), flat(200, 200, 200)])
    np.testing.assert_allclose(tone_changes(frames)["saturation"], [0.25, -0.5])


def test_blur_loses_fine_detail_and_noise_adds_it():
    image = texture()
    blurred = ndimage.gaussian_filter(image, 1.0, axes=(0, 1))
    noisy = np.clip(image + RNG.normal(0, 10, image.shape), 0, 255).astype(np.uint8)
    values = tone_changes(np.stack([image, image, blurred, noisy]))["high_frequency"]
    assert values[0] == 1.0
    assert values[1] < 0.3
    assert values[2] > 1.5


def test_a_shift_of_brightness_or_a_slow_ramp_is_no_detail():
    image = np.clip(texture(), 40, 200)
    slope = np.arange(64)[None, :, None] // 2
    frames = np.stack([image, image + 30, (image + slope).astype(np.uint8)])
    values = tone_changes(frames)["high_frequency"]
    np.testing.assert_allclose(values, [1.0, 1.0], rtol=0.05)


def test_most_of_the_energy_is_above_half_of_the_nyquist_frequency():
    """The documented 92%: the response of an impulse, on power of 1 / f**2."""
    impulse = np.zeros((256, 256))
    impulse[128, 128] = 1.0
    response = np.abs(np.fft.fft2(ndimage.laplace(impulse))) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256)] * 2))
    power = response / np.maximum(frequency, 1e-9) ** 2
    assert power[frequency >= 0.25].sum() / power.sum() == pytest.approx(
        0.92, abs=0.005
    )
    assert high_frequency_energy(impulse) == pytest.approx(20 / 256**2)


@pytest.mark.parametrize("colour", [(0, 0, 0), (3, 77, 201), (254, 255, 253)])
@pytest.mark.parametrize("size", [1, 2, 33])
def test_a_flat_source_has_no_detail_to_compare_with(colour, size):
    frames = np.stack([flat(*colour, size), RNG.integers(0, 256, (size, size, 3))])
    assert np.isnan(tone_changes(frames.astype(np.uint8))["high_frequency"]).all()


def test_a_flat_result_has_lost_it_all():
    frames = np.stack([texture(16), flat(3, 77, 201)])
    assert tone_changes(frames)["high_frequency"][0] == 0.0


def test_frames_of_one_image_are_refused():
    with pytest.raises(UserError, match="n at least 2"):
        tone_changes(flat(1, 2, 3)[None])
