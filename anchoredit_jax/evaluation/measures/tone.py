"""Saturation, luminance and fine detail of whole images, against turn 0's.

Editors that feed on their own output grow more saturated, more contrasty, and blurred
or over-sharpened, long before a difference of pixels says which of these it is.
"""

import numpy as np
from scipy import ndimage

from anchoredit_jax.data.pixel_error import check_images

REC_709 = np.array([2126, 7152, 722], np.float32)  # of 10,000
PERCENTILES = (5, 50, 95)


def tone_changes(frames: np.ndarray) -> dict[str, np.ndarray]:
    """What became of turn 0's tone and detail.

    Args:
      frames: uint8 [N + 1, H, W, 3], the source first.

    Returns:
      float64 [N] each: "saturation" and "luminance_p05", "_p50", "_p95" as differences
      to turn 0; "high_frequency" as a ratio to turn 0, NaN where turn 0 is flat.

    Raises:
      UserError: `frames` are not such images, or no turn follows the source.
    """
    check_images(frames, "frames", at_least=2)
    saturation = np.array([mean_saturation(frame) for frame in frames])
    lumas = [luma(frame) for frame in frames]
    shifts = np.array([np.percentile(one, PERCENTILES) for one in lumas])
    energy = np.array([high_frequency_energy(one) for one in lumas])
    changes = {"saturation": saturation[1:] - saturation[0]}
    for percentile, values in zip(PERCENTILES, shifts.T, strict=True):
        changes[f"luminance_p{percentile:02d}"] = values[1:] - values[0]
    ratios = (
        energy[1:] / energy[0] if energy[0] > 0 else np.full_like(energy[1:], np.nan)
    )
    return {**changes, "high_frequency": ratios}


def mean_saturation(image: np.ndarray) -> float:
    """Mean of HSV's saturation, (max - min) / max of the channels, 0 where black.

    uint8 [H, W, 3] -> a number in [0, 1].
    """
    highest = image.max(-1)
    spread = (highest - image.min(-1)).astype(np.float32)
    return float(np.mean(spread / np.maximum(highest, 1), dtype=np.float64))


def luma(image: np.ndarray) -> np.ndarray:
    """Rec. 709 luma of the gamma-coded values: uint8 [H, W, 3] -> float32 [H, W].

    0 is black, 1 white. Sums are whole numbers below 2**24, so equal colours have equal
    lumas to the last bit, and a flat image is flat.
    """
    return image.astype(np.float32) @ REC_709 / (255 * REC_709.sum())


def high_frequency_energy(values: np.ndarray) -> float:
    """Mean square of the discrete Laplacian (centre -4, its four neighbours 1).

    Its response grows with the square of the frequency. Of a picture whose power falls
    as 1 / f**2, as that of natural images does, 92% of this energy lies above half of
    the Nyquist frequency. Unlike a spectrum it needs no periodic image and no taper;
    at the border, where a neighbour is missing, the pixel itself stands for it.

    Args:
      values: float32 [H, W].

    Returns:
      a number, 0 exactly where all values are equal.
    """
    return float(np.mean(np.square(ndimage.laplace(values, mode="nearest"))))
