"""How well a return to an earlier state gives that state back."""

from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.pixel_error import psnr, squared_error
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures.inputs import check_images
from anchoredit_jax.evaluation.measures.ssim import ssim


def return_measures(
    frames: np.ndarray, returns_to: Sequence[int | None]
) -> dict[str, np.ndarray]:
    """Compares a turn that was told to go back with the session's own earlier frame.

    No truth is needed: what an earlier turn did wrong is right to come back.

    Args:
      frames: uint8 [N + 1, H, W, 3], the source and the result of every turn.
      returns_to: per turn the number of the frame to go back to, 0 for the source; None
        for all other instructions.

    Returns:
      {"return_psnr", "return_ssim"}: float64 [N], NaN where nothing is returned to.

    Raises:
      UserError: `frames` are not such images, or there is not one entry a turn.
    """
    check_images(frames, "frames", at_least=2)
    turns = len(frames) - 1
    if len(returns_to) != turns:
        raise UserError(
            f"returns_to must have an entry for each of {turns} turns, got "
            f"{len(returns_to)}"
        )
    values = np.full((2, turns), np.nan)
    for turn, target in enumerate(returns_to, 1):
        if target is not None:
            pair = frames[turn], frames[target]
            error = squared_error(*pair).mean(dtype=np.float64)
            values[:, turn - 1] = psnr(error), ssim(*pair)
    return {"return_psnr": values[0], "return_ssim": values[1]}
