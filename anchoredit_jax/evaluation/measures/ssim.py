"""The structural similarity index, averaged over a part of an image.

Of Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
structural similarity", 2004: a Gaussian window of 11 x 11 pixels and sigma 1.5,
K1 = 0.01, K2 = 0.03, population (not sample) moments. Each colour channel is compared
alone and the three are averaged, so that a change of hue alone is seen too.

At the border of the image a window goes on into the image's reflection. So every pixel
has a window, and images smaller than a window have a value.

A window looks 5 pixels far, so near a changed region it sees what an edit changed. Only
windows that lie wholly inside the region asked for count; where there is none, such as
in a region of scattered pixels, there is no value (NaN).
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

WINDOW = 11  # pixels
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
CENTRE = 127.5


class Moments(NamedTuple):
    """An image and what its windows look like, float32 [H, W, 3] each.

    Attributes:
      centred: values minus `CENTRE`: variances in float32 then keep their digits.
      mean: the mean of each window, centred too.
      variance: the variance of each window.
    """

    centred: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def ssim(image: np.ndarray, other: np.ndarray, region: np.ndarray | None = None):
    """The index of two images, 1 where they are equal.

    Args:
      image, other: uint8 [H, W, 3].
      region: bool [H, W]; None for the whole image.

    Returns:
      float; NaN where no window lies inside the region.
    """
    if region is None:
        region = np.ones(image.shape[:2], bool)
    return region_ssim(moments(image), moments(other), region)


def moments(image: np.ndarray) -> Moments:
    """The moments of uint8 [H, W, 3]; an image compared often needs them once."""
    centred = image.astype(np.float32) - np.float32(CENTRE)
    mean = _window_mean(centred)
    return Moments(centred, mean, _window_mean(centred * centred) - mean * mean)


def region_ssim(image: Moments, other: Moments, region: np.ndarray) -> float:
    """`ssim` of images whose moments are known."""
    inside = ndimage.minimum_filter(region, WINDOW, mode="reflect")
    if not inside.any():
        return float("nan")
    return float(ssim_map(image, other)[inside].mean(dtype=np.float64))


def ssim_map(image: Moments, other: Moments) -> np.ndarray:
    """The index of the window around every pixel: float32 [H, W]."""
    covariance = _window_mean(image.centred * other.centred) - image.mean * other.mean
    mean, other_mean = image.mean + CENTRE, other.mean + CENTRE
    luminance = (2 * mean * other_mean + C1) / (mean**2 + other_mean**2 + C1)
    structure = (2 * covariance + C2) / (image.variance + other.variance + C2)
    return (luminance * structure).mean(-1)


def _window_mean(values: np.ndarray) -> np.ndarray:
    radius = WINDOW // 2
    return ndimage.gaussian_filter(
        values, SIGMA, mode="reflect", radius=radius, axes=(0, 1)
    )
