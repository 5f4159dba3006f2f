"""From measures of single sessions to the numbers that are reported."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from anchoredit_jax.data.sprites import SpriteScores

LAST = "last turn"  # a kind of numbers: of each session's own last turn


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
    times = _resamplings(len(totals), draws, seed)
    drawn = times @ counts
    # A resampling without any value has no mean.
    means = (times @ totals)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return {
        "mean": float(mean),
        "low": float(low),
        "high": float(high),
        "count": count,
    }


def last_turns(values: np.ndarray, lengths: Sequence[int] | None) -> np.ndarray:
    """Float [n], of [n, N]: each session's own last turn; of all the last column where
    no lengths are given."""
    if lengths is None:
        return values[:, -1]
    return values[np.arange(len(values)), np.asarray(lengths) - 1]


def summarise(
    measures: Mapping[str, np.ndarray],
    scores: SpriteScores | None = None,
    lengths: Sequence[int] | None = None,
) -> dict:
    """The numbers of one policy, ready for JSON.

    Every number is {"mean", "low", "high", "count"}, see `bootstrap_mean`; PSNRs are
    means of the sessions' values in dB.

    Args:
      measures: by name, float [n, N].
      scores: of sprite sessions.
      lengths: turns of each session, where they differ.

    Returns:
      "per_turn": for every measure a list over the turns; "last turn": its value at
      each session's own last turn; of sprites also "success" over all turns, and
      "success_by_kind".
    """
    sessions, turns = next(iter(measures.values())).shape
    summary = {
        "sessions": sessions,
        "turns": turns,
        "per_turn": {
            name: [bootstrap_mean(values[:, turn]) for turn in range(turns)]
            for name, values in measures.items()
        },
    }
    if scores is not None:
        summary["success"] = bootstrap_mean(scores.success)
        summary["success_by_kind"] = {
            str(kind): bootstrap_mean(
                np.where(scores.kinds == kind, scores.success, np.nan)
            )
            for kind in np.unique(scores.kinds)
        }
    # Last: whoever looks for the number over all turns finds that one first.
    summary[LAST] = {
        name: bootstrap_mean(last_turns(values, lengths))
        for name, values in measures.items()
    }
    return summary


def by_shape(summary: Callable[[Any], dict]) -> Callable[[Any], dict]:
    """A summary of a `PolicyRun` that also tells the shapes apart.

    Where its cases have several shapes, "by_shape" holds the same summary of each.
    """

    def whole_and_parts(run) -> dict:
        told, shapes = summary(run), run.by_shape()
        if len(shapes) > 1:
            told["by_shape"] = {
                shape: summary(run.of(rows)) for shape, rows in shapes.items()
            }
        return told

    return whole_and_parts


def compare(
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    lengths: Sequence[int] | None = None,
) -> dict:
    """Second minus first on the same sessions, paired.

    Args:
      first, second: measures by name, float [n, N].
      lengths: turns of each session, where they differ.

    Returns:
      for each measure at the last turn (name with "_last"), and for "success" over all
      turns: {"mean", "low", "high", "count"} of the difference; an interval that leaves
      out 0 is a difference that other sessions would show as well.
    """
    common = [name for name in first if name in second]
    result = {
        f"{name}_last": bootstrap_mean(last_turns(second[name] - first[name], lengths))
        for name in common
    }
    if "success" in common:
        result["success"] = bootstrap_mean(second["success"] - first["success"])
    return result


@functools.lru_cache(maxsize=8)  # a report has hundreds of means of the same sessions
def _resamplings(sessions: int, draws: int, seed: int) -> np.ndarray:
    """[draws, sessions]: how often each session is drawn, so that a resampling is a
    matrix product; floating, since only these products are fast."""
    rng = np.random.default_rng(seed)
    equal = np.full(sessions, 1 / sessions)
    return rng.multinomial(sessions, equal, size=draws).astype(np.float64)
