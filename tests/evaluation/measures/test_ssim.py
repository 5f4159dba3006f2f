"""SSIM is scikit-image's, and counts windows inside a region only."""

import numpy as np
import pytest

from anchoredit_jax.evaluation.measures import ssim
from anchoredit_jax.evaluation.measures.ssim import C1, moments, ssim_map

RNG = np.random.default_rng(0)


def noisy(image, amplitude=20):
    noise = RNG.integers(-amplitude, amplitude + 1, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def picture(height, width):
    """Ramps and a bright, nearly flat part, where cancellation would show."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 7 % 256, columns * 5 % 256, (rows + columns) % 256], -1)
    image[: height // 2, : width // 2] = 250
    return image.astype(np.uint8)


def their_map(image, other):
    metrics = pytest.importorskip("skimage.metrics")
    _, values = metrics.structural_similarity(
        image,
        other,
        full=True,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
    return values.mean(-1)


@pytest.mark.parametrize("amplitude", [1, 20, 120])
@pytest.mark.parametrize("size", [(32, 32), (67, 40)])
def test_the_map_is_that_of_scikit_image(size, amplitude):
    image = picture(*size)
    other = noisy(image, amplitude)
    ours = ssim_map(moments(image), moments(other))
    theirs = their_map(image, other)
    np.testing.assert_allclose(ours, theirs, atol=5e-5)
    assert ssim(image, other) == pytest.approx(theirs.mean(), abs=2e-6)


def test_images_smaller_than_the_window_are_continued_by_reflection():
    image = RNG.integers(0, 256, (8, 5, 3), np.uint8)
    other = noisy(image)
    sides = ((8, 8), (5, 5), (0, 0))
    padded = [np.pad(one, sides, mode="symmetric") for one in (image, other)]
    theirs = their_map(*padded)[8:-8, 5:-5]
    assert ssim(image, other) == pytest.approx(theirs.mean(), abs=1e-5)
    assert ssim(image, image) == 1.0


def test_flat_images_differ_by_their_luminance():
    dark, bright = (
        np.full((16, 16, 3), 200, np.uint8),
        np.full((16, 16, 3), 40, np.uint8),
    )
    expected = (2 * 200 * 40 + C1) / (200**2 + 40**2 + C1)
    assert ssim(dark, bright) == pytest.approx(expected, abs=1e-6)


def test_a_change_of_hue_alone_is_seen():
    image = picture(32, 32)
    assert ssim(image, image[..., ::-1]) < 0.9


def test_of_a_region_only_windows_inside_it_count():
    image = picture(48, 48)
    other = noisy(image)
    region = np.zeros((48, 48), bool)
    region[10:40, 20:] = True
    inside = np.zeros_like(region)
    inside[15:35, 25:] = True  # 5 pixels from its edge; the image's border is none
    theirs = their_map(image, other)[inside].mean()
    assert ssim(image, other, region) == pytest.approx(theirs, abs=1e-5)
    spoilt = np.where(region[..., None], other, 255 - image)
    assert ssim(image, spoilt, region) == ssim(image, other, region)


def test_a_region_without_a_whole_window_has_no_value():
    image = picture(32, 32)
    region = np.zeros((32, 32), bool)
    region[10:20, 10:20] = True  # one pixel short of a window
    assert np.isnan(ssim(image, image, region))
    region[10:21, 10:21] = True
    assert ssim(image, image, region) == 1.0
