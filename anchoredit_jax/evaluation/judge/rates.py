"""SR@k and CR@k: sessions that are right up to turn k."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from anchoredit_jax.evaluation.judge.verdict import TurnScores

PASSES_ABOVE = 6  # MSE-Bench's threshold, of both scores


@dataclasses.dataclass(frozen=True, eq=False)
class SessionRates:
    """One row a session, in the order of the scores; column k - 1 is about turns 1..k.

    The mean of a column over the sessions, without its NaN, is the rate at k.

    Attributes:
      success: float64 [n, N], 1 where the session's turns 1..k all succeed, else 0 (for
        SR@k); NaN where one of them is unjudged or the session is shorter.
      consistent: the same for consistency alone (for CR@k).
    """

    success: np.ndarray
    consistent: np.ndarray


def success_rates(
    scores: Mapping[str, TurnScores],
    instruction_above: float = PASSES_ABOVE,
    consistency_above: float = PASSES_ABOVE,
) -> SessionRates:
    """Which sessions are right up to which turn.

    Args:
      scores: n sessions of at most N turns, see `judge_sessions`.
      instruction_above, consistency_above: a score must be above to pass.
    """
    turns = max((len(score.reasons) for score in scores.values()), default=0)
    instruction = [score.instruction for score in scores.values()]
    consistency = [score.consistency for score in scores.values()]
    followed = _passed(instruction, instruction_above, turns)
    kept = _passed(consistency, consistency_above, turns)
    # A running minimum is NaN from the first NaN on.
    return SessionRates(
        np.minimum.accumulate(np.minimum(followed, kept), axis=1),
        np.minimum.accumulate(kept, axis=1),
    )


def _passed(rows: list[np.ndarray], above: float, turns: int) -> np.ndarray:
    """[n, turns]: 1 or 0, NaN where there is no score."""
    table = np.full((len(rows), turns), np.nan)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return np.where(np.isnan(table), np.nan, table > above)
