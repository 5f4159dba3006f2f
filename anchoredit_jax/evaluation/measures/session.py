"""All measures of one session."""

import numpy as np

from anchoredit_jax.data.pixel_error import psnr, region_mse, squared_error
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures.describe import MEASURES
from anchoredit_jax.evaluation.measures.drift import identity_drift, turn_difference
from anchoredit_jax.evaluation.measures.inputs import check_images
from anchoredit_jax.evaluation.measures.ssim import moments, region_ssim
from anchoredit_jax.evaluation.measures.tone import tone_changes


def measure_session(
    frames: np.ndarray, truth: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every measure of `MEASURES` for every turn.

    "identity" compares a turn with the source where the truth still is the source, so
    an edit that was asked for does not count as a loss; "consistency" compares it with
    the turn before where the truth did not change in this turn. The latter is blind to
    what earlier turns spoilt, the former is not. Changes of turn 0's tone and fine
    detail, and plain differences, are those of whole images and need no truth.

    Args:
      frames: uint8 [N + 1, H, W, 3], the source and the result of every turn.
      truth: uint8 [N + 1, H, W, 3], what they should be; None where nobody knows.

    Returns:
      float64 [N] by name, in the order of `MEASURES`. NaN where a measure does not
      apply: "identity" and "consistency" without a truth or where it leaves no pixel
      alone (for SSIM: no window of 11 x 11 pixels, see `ssim`), "high_frequency" where
      the source is flat. PSNR is at most `statistics.MAX_PSNR`.

    Raises:
      UserError: `frames` or `truth` are not such images, or no turn follows the source.
    """
    check_images(frames, "frames", at_least=2)
    values = {measure.name: np.full(len(frames) - 1, np.nan) for measure in MEASURES}
    if truth is not None:
        check_images(truth, "truth", at_least=2)
        if truth.shape != frames.shape:
            raise UserError(
                f"truth must have the shape of frames, {list(frames.shape)}, got "
                f"{list(truth.shape)}"
            )
        values |= _fidelity(frames, truth)
    values["source_difference"] = identity_drift(frames)
    values["previous_difference"] = turn_difference(frames)
    return values | tone_changes(frames)


def _fidelity(frames: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    names = [
        f"{of}_{by}" for of in ("identity", "consistency") for by in ("psnr", "ssim")
    ]
    rows = []
    source = previous = moments(frames[0])
    for turn in range(1, len(frames)):
        current = moments(frames[turn])
        row = []
        for at, reference in ((0, source), (turn - 1, previous)):
            kept = (truth[turn] == truth[at]).all(-1)
            error = squared_error(frames[turn], frames[at])
            row.append(psnr(region_mse(error, kept)))
            row.append(region_ssim(current, reference, kept))
        rows.append(row)
        previous = current
    return dict(zip(names, np.array(rows, np.float64).T, strict=True))
