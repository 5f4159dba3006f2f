"""What the judge said of a turn, of a session, of all sessions, and what it cost."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens paid for, as far as the endpoint reports them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The judge's word on one turn.

    Attributes:
      instruction, consistency: 0 to 10; both None where the turn is unjudged.
      reason: the judge's, or why the turn is unjudged.
      answers: how many answers were paid for, unreadable ones included.
      usage: of these answers.
      reached: False where the endpoint gave no answer in the end; asking again later
        may help.
    """

    instruction: int | None
    consistency: int | None
    reason: str
    answers: int
    usage: Usage
    reached: bool = True

    @property
    def judged(self) -> bool:
        return self.instruction is not None


@dataclasses.dataclass(frozen=True, eq=False)
class TurnScores:
    """Both scores of a session's N turns.

    Attributes:
      instruction, consistency: float64 [N], 0 to 10, NaN where a turn is unjudged.
      reasons: N texts: the judge's, or why the turn is unjudged.
    """

    instruction: np.ndarray
    consistency: np.ndarray
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> "TurnScores":
        # None becomes NaN.
        return cls(
            np.array([v.instruction for v in verdicts], np.float64),
            np.array([v.consistency for v in verdicts], np.float64),
            tuple(v.reason for v in verdicts),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """All sessions' scores.

    Attributes:
      scores: by the session's name.
      asked, reused: turns that were put to the judge, and turns whose verdict was known
        already (from the cache, or from an identical turn).
      unjudged: turns without scores.
      usage: paid for in this run.
      total_usage: paid for in all runs that wrote the cache.
    """

    scores: dict[str, TurnScores]
    asked: int
    reused: int
    unjudged: int
    usage: Usage
    total_usage: Usage
