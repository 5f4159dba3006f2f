"""Every turn of every session put to the judge, each one paid for once."""

import concurrent.futures
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge.answer import MalformedAnswer, parse_answer
from anchoredit_jax.evaluation.judge.cache import VerdictCache
from anchoredit_jax.evaluation.judge.config import JudgeConfig
from anchoredit_jax.evaluation.judge.endpoint import (
    Completion,
    NoAnswer,
    open_endpoint,
)
from anchoredit_jax.evaluation.judge.question import (
    Question,
    complaint,
    session_questions,
)
from anchoredit_jax.evaluation.judge.verdict import (
    Judgement,
    TurnScores,
    Usage,
    Verdict,
)

OnTurn = Callable[[str, int, Verdict], None]


def judge_sessions(
    config: JudgeConfig,
    sessions: Iterable[tuple[str, np.ndarray, Sequence[str]]],
    cache: Path,
    on_turn: OnTurn = lambda session, turn, verdict: None,
) -> Judgement:
    """Judge sessions turn by turn.

    A turn whose answers cannot be read is asked again, told what was wrong, up to
    `config.answers` times, and is then unjudged for good: `cache` keeps that too, and
    only a larger `config.answers` asks anew. A turn for which the endpoint gives no
    answer after all retries is unjudged in this run, and the next one asks again. After
    `2 * config.parallel` of these in a row the endpoint counts as down: the run ends.

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


def judge_turn(
    ask: Callable[[list[dict]], Completion], question: Question, config: JudgeConfig
) -> Verdict:
    """Ask until an answer can be read, at most `config.answers` times."""
    content, usage, why = question.content(config.image_side), Usage(), ""
    for answers in range(config.answers):
        try:
            reply = ask([*content, complaint(why)] if why else content)
        except NoAnswer as error:
            reason = f"no answer: {error}"
            return Verdict(None, None, reason, answers, usage, reached=False)
        usage += reply.usage
        try:
            found = parse_answer(reply.text)
        except MalformedAnswer as error:
            why = f"{error}; it was cut off" if reply.cut_off else str(error)
            continue
        scores = found.instruction, found.consistency
        return Verdict(*scores, found.reason, answers + 1, usage)
    reason = f"no readable answer in {config.answers} tries; the last one: {why}"
    return Verdict(None, None, reason, config.answers, usage)


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
        if known and (known.judged or known.answers >= self._config.answers):
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
        return Judgement(
            scores,
            self._asked,
            self._reused,
            sum(int(np.isnan(score.instruction).sum()) for score in scores.values()),
            self._usage,
            self._cache.usage,
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
