"""One checkpoint on some cases with one memory: run, kept, and measured."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from anchoredit_jax.data.sprites.scores import SpriteScores
from anchoredit_jax.evaluation.cases import Case, rows_by, score_cases
from anchoredit_jax.evaluation.frame_store import FrameStore, open_store
from anchoredit_jax.evaluation.instruments import Instruments
from anchoredit_jax.evaluation.judge import Judgement, judge_sessions, success_rates
from anchoredit_jax.evaluation.measures import (
    feature_measures,
    measure_session,
    return_measures,
)
from anchoredit_jax.evaluation.rollout import iterate_rollouts
from anchoredit_jax.evaluation.settings import Contestant
from anchoredit_jax.evaluation.summary import followed


@dataclasses.dataclass(frozen=True)
class PolicyRun:
    """What one contestant made of some cases with one memory policy.

    Attributes:
      cases: n sessions, of N turns at most.
      store: holds the frames.
      measures: by name, float [n, N]; NaN where a measure does not apply, and after
        the end of a session that is shorter than others.
      scores: of sprite sessions.
      judgement: what the judge said, if one was asked.
    """

    cases: Sequence[Case]
    store: FrameStore
    measures: dict[str, np.ndarray]
    scores: SpriteScores | None = None
    judgement: Judgement | None = None

    def frames(self, row: int) -> np.ndarray:
        """uint8 [N + 1, H, W, 3]: the source and the result of every instruction."""
        case = self.cases[row]
        return np.concatenate([case.source[None], self.store.read(case)])

    def of(self, rows: Sequence[int]) -> "PolicyRun":
        """The run of some of the cases; the judgement is left out."""
        return PolicyRun(
            [self.cases[row] for row in rows],
            self.store,
            {name: values[rows] for name, values in self.measures.items()},
            None if self.scores is None else self.scores.of(rows),
        )

    def by_shape(self) -> dict[str, list[int]]:
        """The rows of each shape, see `Case.shape`."""
        return rows_by(case.shape for case in self.cases)


def run_cases(
    contestant: Contestant,
    cases: Sequence[Case],
    memory: Any,
    sampler: Any,
    seed: int,
    batch: int,
    folder: Path,
    title: str,
) -> FrameStore:
    """Edit all cases that `folder` does not hold yet; a bar counts the edits.

    Raises:
      UserError: the folder holds results of other settings.
    """
    editor = contestant.editor
    store = open_store(
        folder,
        {
            "weights": contestant.digest,
            "memory": dataclasses.asdict(memory),
            "sampler": dataclasses.asdict(sampler),
            "seed": seed,
        },
    )
    finished = frozenset(i for i, case in enumerate(cases) if store.holds(case))
    total = sum(len(case.instructions) for case in cases)
    done = sum(len(cases[row].instructions) for row in finished)
    with tqdm(
        total=total, initial=done, desc=title, unit="edit", dynamic_ncols=True
    ) as bar:
        for row, frames in iterate_rollouts(
            editor,
            [case.source for case in cases],
            [case.instructions for case in cases],
            sampler,
            memory,
            seed,
            batch=batch,
            finished=finished,
            on_turn=bar.update,
        ):
            store.write(cases[row], frames)
    return store


def measure_cases(
    cases: Sequence[Case],
    store: FrameStore,
    instruments: Instruments,
    answers: Path,
    title: str = "",
) -> PolicyRun:
    """Everything that is measured of finished sessions.

    Args:
      answers: file of the judge's answers; what it holds is not asked again.
    """
    run = PolicyRun(cases, store, {})
    if all(case.sprite is not None for case in cases):
        scores = score_cases(cases, [store.read(case) for case in cases])
        run = dataclasses.replace(run, scores=scores, measures=followed(scores))
    rows = range(len(cases))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda row: _pixels(cases[row], run.frames(row)), rows))
    for extractor in instruments.extractors:
        for row in rows:
            found[row] |= feature_measures(extractor, run.frames(row))
    measures = run.measures | _table(cases, found)
    judgement = None
    if instruments.judge is not None:
        judgement = _judge(run, instruments.judge, answers, title)
        measures |= _judged(cases, judgement)
    return dataclasses.replace(run, measures=measures, judgement=judgement)


def measure_truth(cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """Measures of the truth itself; nothing where it is not known of all cases."""
    if any(case.read_truth is None for case in cases):
        return {}
    found = []
    for case in cases:
        truth = case.read_truth()
        found.append(measure_session(truth, truth))
    return _table(cases, found)


def _pixels(case, frames) -> dict[str, np.ndarray]:
    truth = None if case.read_truth is None else case.read_truth()
    found = measure_session(frames, truth)
    returns = case.returns_to or (None,) * len(case.instructions)
    return found | return_measures(frames, returns)


def _table(cases, found: Sequence[dict]) -> dict[str, np.ndarray]:
    """float [n, N] by name, from [N] of every case."""
    turns = max(len(case.instructions) for case in cases)
    table = {name: np.full((len(cases), turns), np.nan) for name in found[0]}
    for row, measured in enumerate(found):
        for name, values in measured.items():
            table[name][row, : len(values)] = values
    return table


def _judge(run: PolicyRun, config, answers, title) -> Judgement:
    total = sum(len(case.instructions) for case in run.cases)
    with tqdm(total=total, desc=title, unit="answer", dynamic_ncols=True) as bar:
        return judge_sessions(
            config,
            (
                (case.name, run.frames(row), case.instructions)
                for row, case in enumerate(run.cases)
            ),
            answers,
            on_turn=lambda *_: bar.update(),
        )


def _judged(cases, judgement: Judgement) -> dict[str, np.ndarray]:
    scores = [judgement.scores[case.name] for case in cases]
    found = [
        {"judge_instruction": s.instruction, "judge_consistency": s.consistency}
        for s in scores
    ]
    rates = success_rates(judgement.scores)
    return _table(cases, found) | {
        "judge_success": rates.success,
        "judge_kept": rates.consistent,
    }
