"""How far images are apart: squared error, its mean over a region, and PSNR."""

import numpy as np

from anchoredit_jax.errors import UserError

MAX_PSNR = 60.0  # decibel given to a perfect match, so that means stay finite


def psnr(mse: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of images in [0, 1]; at most `MAX_PSNR`."""
    return -10.0 * np.log10(np.maximum(mse, 10.0 ** (-MAX_PSNR / 10.0)))


def region_mse(error: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Mean of `error` over a region of each image.

    Args:
      error: float [..., H, W], squared error per pixel.
      region: bool [..., H, W].

    Returns:
      float [...], NaN where the region is empty.
    """
    count = region.sum((-2, -1))
    total = np.where(region, error, 0.0).sum((-2, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def squared_error(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Squared error per pixel, mean over the channels.

    Args:
      images, truth: uint8 [..., H, W, 3].

    Returns:
      float32 [..., H, W], values in [0, 1].
    """
    difference = images.astype(np.float32) - truth.astype(np.float32)
    return np.square(difference / 255.0).mean(-1)


def check_images(images: np.ndarray, name: str = "images", at_least: int = 1) -> None:
    """Refuse what is not a stack of images.

    Args:
      images: uint8 [n, H, W, 3] with n >= `at_least`.
      name: what the error calls them.

    Raises:
      UserError: they are anything else.
    """
    shape, dtype = np.shape(images), getattr(images, "dtype", type(images).__name__)
    good = len(shape) == 4 and shape[3] == 3 and min(shape) > 0
    if not good or dtype != np.uint8 or shape[0] < at_least:
        raise UserError(
            f"{name} must be uint8 [n, height, width, 3] with n at least {at_least}, "
            f"got {dtype} {list(shape)}"
        )
