"""Means over sessions with a bootstrap confidence interval."""

import functools

import numpy as np


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
