"""The parts of an evaluation in general, and what a checkpoint makes of one."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from anchoredit_jax import files
from anchoredit_jax.data.sprites import SpriteScores
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.cases import Case, followed, rows_by, score_cases
from anchoredit_jax.evaluation.frame_store import FrameStore, open_store
from anchoredit_jax.evaluation.judge import (
    JudgeConfig,
    Judgement,
    judge_sessions,
    success_rates,
)
from anchoredit_jax.evaluation.measures import (
    FeatureExtractor,
    feature_measures,
    measure_session,
    return_measures,
    target_distances,
    target_features,
)
from anchoredit_jax.evaluation.settings import Contestant, Settings
from anchoredit_jax.evaluation.table import Measure, Table
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.session.rollout import iterate_rollouts

log = logging.getLogger(__name__)

FRAMES = "frames"  # folder of finished sessions
FIRST_QUESTION = "a first question"  # instead of a session's name
ANSWERS = "judge.jsonl"  # what the judge said, and was paid for
JUDGE_MEASURES = (
    Measure("judge_instruction", "instruction followed", "of 10", True, (0, 10.3)),
    Measure("judge_consistency", "all else kept", "of 10", True, (0, 10.3)),
    Measure("judge_success", "SR@k: followed up to here", "", True, (0.0, 1.03)),
    Measure("judge_kept", "CR@k: kept up to here", "", True, (0.0, 1.03)),
)


@dataclasses.dataclass(frozen=True)
class Part:
    """One test of an evaluation. `parts.PARTS` has all of them.

    Attributes:
      name: in settings, in report.json and in the names of files.
      title: its heading.
      cases: (settings, editor) -> cases, at the sizes that the editor edits at.
      run: (job, cases) -> what one checkpoint makes of them.
      numbers: of such a result, ready for JSON, as `table.table_of` understands it.
      blocks: (table, checkpoint) -> tables for a console.
      picture: of a result; None for none.
      of_dataset: whether it can be made of sessions of one's own; else of sprites only.
      layout: of the only data sets that it can be made of; None for all.
      over_turns: whether results are `PolicyRun`s by policy whose measures are reported
        turn by turn: as curves, contact sheets, CSV and tables of the page.
      features, judged: whether features are compared, and a judge is asked.
    """

    name: str
    title: str
    cases: Callable[[Settings, Any], list[Case]]
    run: Callable[["Job", Sequence[Case]], Any]
    numbers: Callable[[Any], Any]
    blocks: Callable[[Table, str], list[str]]
    picture: Callable[[Any], Image.Image] | None = None
    of_dataset: bool = False
    layout: str | None = None
    over_turns: bool = False
    features: bool = False
    judged: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
    """One checkpoint that goes through one part.

    Attributes:
      out: folder of the report.
      extractors, judge: that the part asks for, and the user gave.
    """

    contestant: Contestant
    settings: Settings
    part: str
    out: Path
    extractors: Sequence[FeatureExtractor] = ()
    judge: JudgeConfig | None = None


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
      same_as: the policy that was run in this one's place, see `run_policies`; None for
        one that was run itself.
    """

    cases: Sequence[Case]
    store: FrameStore
    measures: dict[str, np.ndarray]
    scores: SpriteScores | None = None
    judgement: Judgement | None = None
    same_as: str | None = None

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

    @property
    def lengths(self) -> list[int]:
        """Turns of each session."""
        return [len(case.instructions) for case in self.cases]

    def by_shape(self) -> dict[str, list[int]]:
        """The rows of each shape, see `Case.shape`."""
        return rows_by(case.shape for case in self.cases)


def run_policies(job: Job, cases: Sequence[Case]) -> dict[str, PolicyRun]:
    """The cases under every memory policy of the settings, run and measured.

    Policies that hold the same frames at every turn of these cases are run once: the
    later ones share what the first one made, told by `PolicyRun.same_as`.
    """
    runs, contestant = {}, job.contestant
    positions = contestant.editor.run.memory.positions
    turns = max(len(case.instructions) for case in cases)
    first: dict[tuple, str] = {}
    for name, memory in job.settings.policies.items():
        same = first.setdefault(held_frames(memory, turns), name)
        if same != name:
            # What the judge was paid for is counted where it was asked.
            runs[name] = dataclasses.replace(runs[same], judgement=None, same_as=same)
            continue
        memory = dataclasses.replace(memory, positions=positions)
        store = run_cases(job, cases, name, memory, contestant.sampler)
        runs[name] = measure_cases(job, cases, store, name)
    return runs


def held_frames(memory: MemoryConfig, turns: int) -> tuple[tuple[int, ...], ...]:
    """The frames that a memory holds when each turn is drawn.

    Where they are the same, so are their positions, whatever the policy of positions:
    these depend on how many frames there are and on how many are held.
    """
    table = memory.visibility().table(turns + 1)
    np.fill_diagonal(table, False)  # the frame itself
    return tuple(tuple(np.flatnonzero(row).tolist()) for row in table)


def run_cases(
    job: Job,
    cases: Sequence[Case],
    name: str,
    memory: MemoryConfig,
    sampler: SamplerConfig,
    repetition: int | None = None,
) -> FrameStore:
    """Edit all cases that are not finished yet; a bar counts the edits.

    Args:
      name: of this run; it tells its folder, and with the repetition its noise.

    Raises:
      UserError: its folder holds results of other settings.
    """
    contestant = job.contestant
    seed, folder = job.settings.seed, _folder_name(name)
    if repetition is not None:
        seed, folder = seed + repetition, f"{folder}_{repetition}"
    store = open_store(
        job.out / FRAMES / contestant.label / job.part / folder,
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
    with _bar(job, name, "edit", total, done) as bar:
        for row, frames in iterate_rollouts(
            contestant.editor,
            [case.source for case in cases],
            [case.instructions for case in cases],
            sampler,
            memory,
            seed,
            batch=job.settings.batch,
            finished=finished,
            on_turn=bar.update,
        ):
            store.write(cases[row], frames)
    return store


def measure_cases(
    job: Job, cases: Sequence[Case], store: FrameStore, name: str
) -> PolicyRun:
    """Everything that is measured of finished sessions; what the judge's file of
    answers holds is not asked again."""
    run = PolicyRun(cases, store, {})
    if all(case.sprite is not None for case in cases):
        scores = score_cases(cases, [store.read(case) for case in cases])
        run = dataclasses.replace(run, scores=scores, measures=followed(scores))
    rows = range(len(cases))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda row: _pixels(cases[row], run.frames(row)), rows))
    for extractor in job.extractors:
        for row, case in enumerate(cases):
            frames = run.frames(row)
            found[row] |= feature_measures(extractor, frames)
            if case.read_targets is not None:
                found[row] |= target_features(
                    extractor, frames[1:], case.read_targets(), case.captions
                )
    measures = run.measures | _by_name(cases, found)
    judgement = None
    if job.judge is not None:
        judgement = _judge(run, job, name)
        measures |= _judged(cases, judgement)
    return dataclasses.replace(run, measures=measures, judgement=judgement)


def check_judge(judge: JudgeConfig, out: Path) -> None:
    """Ask the judge one question before anything is edited, and keep its answer.

    Raises:
      UserError: it cannot be asked, gives no answer, or its answer is cut off.
    """
    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    first = [(FIRST_QUESTION, grey, [""])]
    found = judge_sessions(judge, first, out / ANSWERS, on_turn=lambda *_: None)
    for reason in found.why:
        if reason.startswith(("no answer", "cut off")):
            raise UserError(
                f"the judge at {judge.base_url} did not answer a first question, so "
                f"nothing was edited: {reason}"
            )
        log.warning("the judge's answer to a first question does not count: %s", reason)


def measure_truth(cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """Measures of the truth itself; nothing where it is not known of all cases."""
    if any(case.read_truth is None for case in cases):
        return {}
    truths = (case.read_truth() for case in cases)
    return _by_name(cases, [measure_session(truth, truth) for truth in truths])


def _folder_name(name: str) -> str:
    """Of a run's results; a negative text in a sampler's name may hold anything."""
    short, _, text = name.partition(":negative=")
    folder = short.replace(":", "_").replace("/", "_")
    if not text:
        return folder
    return f"{folder}_{files.sha256(text.encode(), digits=8)}"


def _bar(job: Job, name: str, unit: str, total: int, done: int = 0) -> tqdm:
    title = f"{job.contestant.label}, {job.part}, {name}"
    return tqdm(total=total, initial=done, desc=title, unit=unit, dynamic_ncols=True)


def _pixels(case, frames) -> dict[str, np.ndarray]:
    truth = None if case.read_truth is None else case.read_truth()
    found = measure_session(frames, truth)
    returns = case.returns_to or (None,) * len(case.instructions)
    found |= return_measures(frames, returns)
    if case.read_targets is not None:
        found |= target_distances(frames[1:], case.read_targets())
    return found


def _by_name(cases, found: Sequence[dict]) -> dict[str, np.ndarray]:
    """float [n, N] by name, from [N] of every case."""
    turns = max(len(case.instructions) for case in cases)
    table = {name: np.full((len(cases), turns), np.nan) for name in found[0]}
    for row, measured in enumerate(found):
        for name, values in measured.items():
            table[name][row, : len(values)] = values
    return table


def _judge(run: PolicyRun, job: Job, name: str) -> Judgement:
    total = sum(len(case.instructions) for case in run.cases)
    with _bar(job, name, "answer", total) as bar:
        return judge_sessions(
            job.judge,
            (
                (case.name, run.frames(row), case.instructions)
                for row, case in enumerate(run.cases)
            ),
            job.out / ANSWERS,
            on_turn=lambda *_: bar.update(),
        )


def _judged(cases, judgement: Judgement) -> dict[str, np.ndarray]:
    scores = [judgement.scores[case.name] for case in cases]
    found = [
        {"judge_instruction": s.instruction, "judge_consistency": s.consistency}
        for s in scores
    ]
    rates = success_rates(judgement.scores)
    return _by_name(cases, found) | {
        "judge_success": rates.success,
        "judge_kept": rates.consistent,
    }
