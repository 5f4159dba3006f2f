"""All measures of the pixels of one session, turn by turn."""

from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.pixel_error import (
    check_images,
    psnr,
    region_mse,
    squared_error,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.measures.ssim import moments, region_ssim, ssim
from anchoredit_jax.evaluation.measures.tone import tone_changes
from anchoredit_jax.evaluation.table import Measure

TONE = (
    Measure("saturation", "shift of saturation", "", None),
    Measure("luminance_p05", "shift of luminance, 5th percentile", "", None),
    Measure("luminance_p50", "shift of luminance, median", "", None),
    Measure("luminance_p95", "shift of luminance, 95th percentile", "", None),
    Measure("high_frequency", "fine detail, to the source's", "", None),
)
MEASURES = (
    Measure("identity_psnr", "untouched pixels to the source, PSNR", "dB", True),
    Measure("identity_ssim", "untouched pixels to the source, SSIM", "", True),
    Measure(
        "consistency_psnr", "untouched pixels to the turn before, PSNR", "dB", True
    ),
    Measure("consistency_ssim", "untouched pixels to the turn before, SSIM", "", True),
    Measure("source_difference", "difference to the source", "levels of 255", None),
    Measure(
        "previous_difference", "difference to the turn before", "levels of 255", None
    ),
    *TONE,
)
RETURNS = (
    Measure("return_psnr", "a return to the state it is of, PSNR", "dB", True),
    Measure("return_ssim", "a return to the state it is of, SSIM", "", True),
)


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


def _difference(image: np.ndarray, other: np.ndarray) -> float:
    larger, smaller = np.maximum(image, other), np.minimum(image, other)
    return float(np.mean(larger - smaller))  # uint8 would wrap the other way round
