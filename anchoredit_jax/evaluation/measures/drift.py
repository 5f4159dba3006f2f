"""How far whole images have moved, in levels of 0..255."""

import numpy as np

from anchoredit_jax.evaluation.measures.inputs import check_images


def identity_drift(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of every turn to turn 0.

    Made for the identity loop, the null instruction N times, where anything above zero
    is drift: a constant is the price of coding once, growth is an error that compounds
    (`np.diff` of it is what each turn added).

    Args:
      frames: uint8 [N + 1, H, W, 3], the source first.

    Returns:
      float64 [N], levels of 0..255.

    Raises:
      UserError: `frames` are not such images, or no turn follows the source.
    """
    check_images(frames, "frames", at_least=2)
    return np.array([_difference(frame, frames[0]) for frame in frames[1:]])


def turn_difference(frames: np.ndarray) -> np.ndarray:
    """`identity_drift`, but of every turn to the one before."""
    check_images(frames, "frames", at_least=2)
    pairs = zip(frames[1:], frames[:-1], strict=True)
    return np.array([_difference(frame, before) for frame, before in pairs])


def _difference(image: np.ndarray, other: np.ndarray) -> float:
    larger, smaller = np.maximum(image, other), np.minimum(image, other)
    return float(np.mean(larger - smaller))  # uint8 would wrap the other way round
