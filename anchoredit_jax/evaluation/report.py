"""The whole evaluation of one or more checkpoints: run it, then write and print it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import anchoredit_jax
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation import table
from anchoredit_jax.evaluation.held_out import (
    ambiguous_sessions,
    check_held_out,
    held_out_sessions,
    instructions_of,
    story_sessions,
)
from anchoredit_jax.evaluation.pictures import write_pictures
from anchoredit_jax.evaluation.policies import sampler_title
from anchoredit_jax.evaluation.rollout import rollout_sessions
from anchoredit_jax.evaluation.sprites import SpriteScores, render_truth, score_sessions
from anchoredit_jax.evaluation.summary import (
    compare_scores,
    summarise,
    summarise_ambiguous,
    summarise_story,
)
from anchoredit_jax.memory import MemoryConfig

PARTS = ("table", "story", "ambiguous")
FORMAT = 1  # of report.json


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One checkpoint under evaluation.

    Attributes:
      label: its name in tables, figures and file names.
      path: where it was read from.
      editor: an `Editor` (run, params, codec, text encoder).
      sampler: of the main and the scripted test.
      ambiguous_samplers: of the test with ambiguous instructions.
    """

    label: str
    path: str
    editor: Any
    sampler: Any
    ambiguous_samplers: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
      policies: name -> memory, in the order of the tables; positions are taken from
        the checkpoint's own memory.
      parts: of `PARTS`.
      sessions, turns: of the main test.
      story_sessions: of the scripted cover-and-uncover test.
      ambiguous_sessions, repetitions: of the ambiguous instructions, and how often each
        is drawn, each time with other noise.
      seed: of the held-out sessions and of the noise.
      batch: sessions at a time.
    """

    policies: Mapping[str, MemoryConfig]
    parts: tuple[str, ...] = PARTS
    sessions: int = 200
    turns: int = 12
    story_sessions: int = 100
    ambiguous_sessions: int = 200
    repetitions: int = 2
    seed: int = 0
    batch: int = 50

    def __post_init__(self):
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise UserError(
                f"parts must be some of {', '.join(PARTS)}, got "
                f"{', '.join(self.parts) or 'none'}"
            )
        for name in (
            "sessions",
            "turns",
            "story_sessions",
            "ambiguous_sessions",
            "repetitions",
            "batch",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.seed < 0:
            raise UserError(f"seed must be 0 or more, got {self.seed}")


@dataclasses.dataclass(frozen=True)
class PolicyRun:
    """What one contestant made of some sessions with one memory policy."""

    images: np.ndarray
    scores: SpriteScores


def evaluate(contestants: Sequence[Contestant], settings: Settings, out: Path) -> dict:
    """Run every test on every contestant, write the report, print the tables.

    Writes to `out`: report.json, drift_<label>.png, sheet_<label>.png,
    story_<label>.png (story.png for the first), and drift_by_checkpoint_<policy>.png
    where there are several contestants.

    Returns:
      what report.json holds.

    Raises:
      UserError: before anything is written, if a checkpoint does not fit the test.
    """
    _check(contestants, settings, out)
    main: dict[str, dict[str, PolicyRun]] = {}
    story: dict[str, dict[str, PolicyRun]] = {}
    ambiguous: dict[str, dict[str, dict]] = {}
    for contestant in contestants:
        label = contestant.label
        if "table" in settings.parts:
            sessions = held_out_sessions(
                settings.sessions, settings.turns, settings.seed
            )
            main[label] = _run_policies(contestant, settings, sessions, "sessions")
        if "story" in settings.parts:
            sessions = story_sessions(settings.story_sessions, settings.seed)
            story[label] = _run_policies(contestant, settings, sessions, "cover story")
        if "ambiguous" in settings.parts:
            ambiguous[label] = _run_ambiguous(contestant, settings)
    report = {
        "format": FORMAT,
        "version": anchoredit_jax.__version__,
        "settings": {
            **dataclasses.asdict(settings),
            "policies": {
                name: {"sink": memory.sink, "window": memory.window}
                for name, memory in settings.policies.items()
            },
        },
        "contestants": [_describe(contestant) for contestant in contestants],
        "table": _map(main, lambda run: summarise(run.scores)),
        "story": _map(story, lambda run: summarise_story(run.scores)),
        "ambiguous": ambiguous,
        "comparisons": _compare(main),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_pictures(out, settings, report, main, story)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(format_report(report))
    return report


def format_report(report: Mapping[str, Any]) -> str:
    """The tables of a report (what `report.json` holds), for a console."""
    blocks = []
    for contestant in report["contestants"]:
        label = contestant["label"]
        blocks.append(f"== {label} ({contestant['path']}, {contestant['sampler']}) ==")
        if label in report["table"]:
            results = report["table"][label]
            count = next(iter(results.values()))["sessions"]
            blocks.append(f"{count} held-out sessions\n{table.policies_table(results)}")
            blocks.append(table.kinds_table(results))
        if label in report["story"]:
            blocks.append(table.story_table(report["story"][label]))
        if label in report["ambiguous"]:
            blocks.append(table.ambiguous_table(report["ambiguous"][label]))
    if report["comparisons"]:
        blocks.append(table.comparison_table(report["comparisons"]))
    return "\n\n".join(blocks)


def _check(contestants, settings, out: Path) -> None:
    if not contestants:
        raise UserError("no checkpoint to evaluate; give at least one")
    labels = [contestant.label for contestant in contestants]
    if len(set(labels)) < len(labels):
        raise UserError(
            f"two checkpoints share a name ({', '.join(labels)}); name them, as in "
            "student=PATH"
        )
    for contestant in contestants:
        data = contestant.editor.run.data
        if data.name != "sprites":
            raise UserError(
                f"{contestant.path}: trained on {data.name!r}; this evaluation needs "
                "the exact ground truth of sprites"
            )
        check_held_out(data.seed, settings.seed)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} exists and is not a folder; give another --out")


def _run_policies(contestant, settings, sessions, what) -> dict[str, PolicyRun]:
    """Roll the sessions out under every policy and score them."""
    runs = {}
    positions = contestant.editor.run.memory.positions
    for name, memory in settings.policies.items():
        images = _rollout(
            contestant,
            sessions,
            contestant.sampler,
            dataclasses.replace(memory, positions=positions),
            settings.seed,
            settings.batch,
            f"{contestant.label}, {what}, {name}",
        )
        runs[name] = PolicyRun(images, score_sessions(sessions, images))
    return runs


def _run_ambiguous(contestant, settings) -> dict[str, dict]:
    """Every sampler on the ambiguous instructions; the memory holds only the source."""
    sessions = ambiguous_sessions(settings.ambiguous_sessions, settings.seed)
    answers = np.array([len(session.edits[0].valid) for session in sessions])
    default = contestant.editor.run.sampler
    results = {}
    for sampler in contestant.ambiguous_samplers:
        scores = []
        for repetition in range(settings.repetitions):
            images = _rollout(
                contestant,
                sessions,
                sampler,
                contestant.editor.run.memory,
                settings.seed + repetition,
                settings.batch,
                f"{contestant.label}, ambiguous, {sampler_title(sampler, default)}",
            )
            scores.append(score_sessions(sessions, images))
        results[sampler_title(sampler, default)] = summarise_ambiguous(scores, answers)
    return results


def _rollout(contestant, sessions, sampler, memory, seed, batch, what) -> np.ndarray:
    """Images of the sessions' edits, with a progress bar counted in edits."""
    size = contestant.editor.run.data.size
    total = len(sessions) * len(sessions[0].edits)
    with tqdm(total=total, desc=what, unit="edit", dynamic_ncols=True) as bar:
        return rollout_sessions(
            contestant.editor,
            render_truth(sessions, size)[:, 0],
            instructions_of(sessions),
            sampler,
            memory,
            seed,
            batch=batch,
            on_turn=bar.update,
        )


def _compare(main: Mapping[str, Mapping[str, PolicyRun]]) -> list[dict]:
    """Every later contestant against the first, per policy, on the same sessions."""
    labels = list(main)
    return [
        {
            "first": labels[0],
            "second": label,
            "policy": policy,
            "difference": compare_scores(main[labels[0]][policy].scores, run.scores),
        }
        for label in labels[1:]
        for policy, run in main[label].items()
    ]


def _describe(contestant: Contestant) -> dict:
    default = contestant.editor.run.sampler
    lineage = contestant.editor.lineage
    return {
        "label": contestant.label,
        "path": contestant.path,
        "stage": contestant.editor.run.stage,
        "lineage": [
            {"stage": link.stage, "step": link.step, "digest": link.digest}
            for link in (lineage.chain() if lineage else ())
        ],
        "positions": contestant.editor.run.memory.positions,
        "sampler": sampler_title(contestant.sampler, default),
        "sampler_config": dataclasses.asdict(contestant.sampler),
        "ambiguous_samplers": [
            sampler_title(s, default) for s in contestant.ambiguous_samplers
        ],
    }


def _map(results, function) -> dict:
    return {
        label: {policy: function(run) for policy, run in runs.items()}
        for label, runs in results.items()
    }
