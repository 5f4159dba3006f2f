"""Every turn of every session put to the judge, paid for once, and what comes of it."""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge.ask import judge_turn
from anchoredit_jax.evaluation.judge.cache import VerdictCache
from anchoredit_jax.evaluation.judge.config import JudgeConfig
from anchoredit_jax.evaluation.judge.endpoint import open_endpoint
from anchoredit_jax.evaluation.judge.parse import Usage, Verdict
from anchoredit_jax.evaluation.judge.question import Question, session_questions

OnTurn = Callable[[str, int, Verdict], None]
PASSES_ABOVE = 6  # MSE-Bench's threshold, of both scores


@dataclasses.dataclass(frozen=True, eq=False)
class TurnScores:
    """The two scores that a judge gave each of a session's N turns.

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
      why: reason -> how many of these, the most frequent first.
      usage: paid for in this run.
      total_usage: paid for in all runs that wrote the cache.
    """

    scores: dict[str, TurnScores]
    asked: int
    reused: int
    unjudged: int
    usage: Usage
    total_usage: Usage
    why: Mapping[str, int] = dataclasses.field(default_factory=dict)


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


def judge_sessions(
    config: JudgeConfig,
    sessions: Iterable[tuple[str, np.ndarray, Sequence[str]]],
    cache: Path,
    on_turn: OnTurn = lambda session, turn, verdict: None,
) -> Judgement:
    """Judge sessions turn by turn.

    A turn whose answers cannot be read is asked again, told what was wrong, up to
    `config.answers` times, and is then unjudged for good: `cache` keeps that too, and
    only a larger `config.answers` asks anew. An answer that was cut off is asked for
    anew with a larger `config.max_tokens`, a refused one never. A turn for which the
    endpoint gives no answer after all retries is unjudged in this run, and the next one
    asks again. After `2 * config.parallel` of these in a row the endpoint counts as
    down: the run ends.

    However a run ends, answers that arrive are kept: an exception waits for the
    requests in flight, a killed process loses at most those `config.parallel`.

    Args:
      config: the judge.
      sessions: (name, frames uint8 [N + 1, H, W, 3] with the source first, N
        instructions); read as they are needed, so they may be made on the way.
      cache: the JSON lines file of verdicts, made where missing. Runs on other sessions
        or with other judges may share it, one at a time.
      on_turn: called with (session, turn from 1, verdict) as turns become known, in no
        fixed order, in the caller's thread.

    Returns:
      The scores of all sessions.

    Raises:
      UserError: a session of the wrong shape or a repeated name; no key or library; an
        endpoint that refuses the requests or is down; a file that is no cache.
    """
    with (
        VerdictCache(Path(cache)) as verdicts,
        open_endpoint(config) as ask,
        concurrent.futures.ThreadPoolExecutor(config.parallel) as pool,
    ):
        run = _Run(config, verdicts, ask, pool, on_turn)
        for name, frames, instructions in sessions:
            run.add_session(name, len(instructions))
            for question in session_questions(name, frames, instructions):
                run.add(question)
        return run.finish()


class _Run:
    """The state of one call: only worker threads ask, only the caller's thread counts.

    No more turns are handed out than there are workers, so that none is waiting when
    the run has to end.
    """

    def __init__(self, config, cache: VerdictCache, ask, pool, on_turn: OnTurn):
        self._config = config
        self._cache = cache
        self._ask = ask
        self._pool = pool
        self._on_turn = on_turn
        self._verdicts: dict[str, list[Verdict | None]] = {}
        # By key: turns with one question wait for one answer.
        self._waiting: dict[str, list[Question]] = {}
        self._pending: dict[concurrent.futures.Future, str] = {}
        self._asked = self._reused = self._misses = 0
        self._usage = Usage()

    def add_session(self, name: str, turns: int) -> None:
        if name in self._verdicts:
            raise UserError(
                f"two sessions are named {name!r}: the judge's scores go by names, "
                "give each session its own"
            )
        self._verdicts[name] = [None] * turns

    def add(self, question: Question) -> None:
        key = question.key(self._config)
        known = self._cache.get(key)
        config = self._config
        if known and known.settled(config.answers, config.max_tokens):
            self._reused += 1
            self._settle(question, known)
        elif key in self._waiting:
            self._reused += 1
            self._waiting[key].append(question)
        else:
            while len(self._pending) >= self._config.parallel:
                self._collect()
            self._asked += 1
            self._waiting[key] = [question]
            future = self._pool.submit(self._judge, key, question)
            self._pending[future] = key

    def finish(self) -> Judgement:
        while self._pending:
            self._collect()
        scores = {name: TurnScores.of(row) for name, row in self._verdicts.items()}
        why = collections.Counter(
            verdict.reason
            for row in self._verdicts.values()
            for verdict in row
            if not verdict.judged
        )
        return Judgement(
            scores,
            self._asked,
            self._reused,
            why.total(),
            self._usage,
            self._cache.usage,
            dict(why.most_common()),
        )

    def _judge(self, key: str, question: Question) -> Verdict:
        verdict = judge_turn(self._ask, question, self._config)
        if verdict.answers:
            self._cache.record(key, question, verdict)
        return verdict

    def _collect(self) -> None:
        first = concurrent.futures.FIRST_COMPLETED
        done, _ = concurrent.futures.wait(self._pending, return_when=first)
        for future in done:
            key = self._pending.pop(future)
            verdict = future.result()
            self._usage += verdict.usage
            for question in self._waiting.pop(key):
                self._settle(question, verdict)
            self._watch(verdict)

    def _settle(self, question: Question, verdict: Verdict) -> None:
        self._verdicts[question.session][question.turn - 1] = verdict
        self._on_turn(question.session, question.turn, verdict)

    def _watch(self, verdict: Verdict) -> None:
        self._misses = 0 if verdict.reached else self._misses + 1
        if self._misses >= 2 * self._config.parallel:
            raise UserError(
                f"the judge at {self._config.base_url} left {self._misses} turns in a "
                f"row unanswered, the last one: {verdict.reason}; the answers so far "
                "are kept: once the endpoint works (its address, its limits), run "
                "again to go on from here"
            )
