"""What measures accept."""

import numpy as np

from anchoredit_jax.errors import UserError


def check_images(images: np.ndarray, name: str = "images", at_least: int = 1) -> None:
    """
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
