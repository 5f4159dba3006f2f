"""PSNR over a region, and means with a bootstrap confidence interval."""

import functools

import numpy as np

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


def bootstrap_mean(
    values: np.ndarray, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict:
    """The mean over sessions and its percentile bootstrap interval.

    Sessions are drawn, not single turns: the turns of a session are not independent.

    Args:
      values: float [n] or [n, turns], one row a session; NaN where a value does not
        apply.

    Returns:
      {"mean", "low", "high", "count"}; floats are None where no value applies.
    """
    values = np.asarray(values, np.float64).reshape(len(values), -1)
    known = ~np.isnan(values)
    totals, counts = np.where(known, values, 0.0).sum(1), known.sum(1)
    count = int(counts.sum())
    if count == 0:
        return {"mean": None, "low": None, "high": None, "count": 0}
    mean = totals.sum() / count
    means = _bootstrap(totals, counts, draws, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return {
        "mean": float(mean),
        "low": float(low),
        "high": float(high),
        "count": count,
    }


def _bootstrap(totals, counts, draws, seed):
    """Means of `draws` resamplings of the sessions, those without a value left out."""
    times = _resamplings(len(totals), draws, seed)
    drawn = times @ counts
    return (times @ totals)[drawn > 0] / drawn[drawn > 0]


@functools.lru_cache(maxsize=8)  # a report has hundreds of means of the same sessions
def _resamplings(sessions: int, draws: int, seed: int) -> np.ndarray:
    """[draws, sessions]: how often each session is drawn, so that a resampling is a
    matrix product; floating, since only these products are fast."""
    rng = np.random.default_rng(seed)
    equal = np.full(sessions, 1 / sessions)
    return rng.multinomial(sessions, equal, size=draws).astype(np.float64)
