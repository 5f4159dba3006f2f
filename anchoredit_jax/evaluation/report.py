"""The whole evaluation of one or more checkpoints: run it, then write and print it."""

import dataclasses
import functools
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import anchoredit_jax
from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation import table
from anchoredit_jax.evaluation.cases import score_cases
from anchoredit_jax.evaluation.csv_files import write_sessions, write_turns
from anchoredit_jax.evaluation.held_out import check_held_out
from anchoredit_jax.evaluation.html_report import write_html
from anchoredit_jax.evaluation.instruments import Instruments
from anchoredit_jax.evaluation.panels import groups_of, measures_of
from anchoredit_jax.evaluation.part_cases import make_cases
from anchoredit_jax.evaluation.pictures import write_pictures
from anchoredit_jax.evaluation.policies import sampler_title
from anchoredit_jax.evaluation.policy_run import (
    PolicyRun,
    measure_cases,
    measure_truth,
    run_cases,
)
from anchoredit_jax.evaluation.settings import (
    OVER_TURNS,
    PARTS,
    Contestant,
    Settings,
)
from anchoredit_jax.evaluation.summary import (
    by_shape,
    compare,
    summarise,
    summarise_ambiguous,
    summarise_codec,
    summarise_story,
)

FORMAT = 2  # of report.json
FRAMES = "frames"  # folder of finished sessions
FIGURES = "figures"
ANSWERS = "judge.jsonl"  # what the judge said, and was paid for


def evaluate(
    contestants: Sequence[Contestant],
    settings: Settings,
    out: Path,
    instruments: Instruments = Instruments(),  # noqa: B008  (frozen)
) -> dict:
    """Run every test on every contestant, write the report, print the tables.

    Writes to `out`: report.html, report.json, turns.csv, sessions.csv, figures/, which
    the page holds too, and frames/, with which a stopped evaluation goes on.

    Returns:
      what report.json holds.

    Raises:
      UserError: before anything is written, if a checkpoint does not fit the test; or
        `out` holds results of other settings.
    """
    _check(contestants, settings, out)
    by_label = {contestant.label: contestant for contestant in contestants}

    @functools.cache
    def cases_of(label: str, part: str):
        editor = by_label[label].editor
        return make_cases(settings, part, editor.side, editor.size_of)

    # Read, and refused, before the first of them is edited.
    for label in by_label:
        for part in settings.parts:
            cases_of(label, part)
    runs: dict[str, dict] = {part: {} for part in PARTS}
    ambiguous: dict[str, dict] = {}
    codec: dict[str, list[dict]] = {}
    for contestant in contestants:
        for part in settings.parts:
            cases = cases_of(contestant.label, part)
            if part == "codec":
                codec[contestant.label] = summarise_codec(
                    contestant.editor.codec, cases
                )
            elif part == "ambiguous":
                found = _run_ambiguous(contestant, settings, cases, out)
                ambiguous[contestant.label] = found
            else:
                runs[part][contestant.label] = _run_policies(
                    contestant, settings, part, cases, out, instruments.of(part)
                )
    truth = {
        part: measure_truth(cases_of(contestants[0].label, part))
        for part in OVER_TURNS
        if part in settings.parts
    }
    report = {
        "format": FORMAT,
        "version": anchoredit_jax.__version__,
        "settings": _told(settings),
        "instruments": instruments.told(),
        "contestants": [_describe(contestant) for contestant in contestants],
        "table": _map(
            runs["table"],
            by_shape(lambda run: summarise(run.measures, run.scores)),
        ),
        "story": _map(runs["story"], by_shape(lambda run: summarise_story(run.scores))),
        "ambiguous": ambiguous,
        "identity": _map(runs["identity"], lambda run: summarise(run.measures)),
        "truth": {part: summarise(found) for part, found in truth.items() if found},
        "judge": _describe_judgements(runs["table"]),
        "codec": codec,
        "comparisons": _comparisons(runs["table"]),
    }
    _write(out, report, runs)
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
            first = next(iter(results.values()))
            told = f"{first['sessions']} sessions of up to {first['turns']} turns"
            if "success" in first:
                blocks.append(f"{told}, held out\n{table.policies_table(results)}")
                if "by_shape" in first:
                    stories = report["story"].get(label, {})
                    blocks.append(table.shapes_table(results, stories))
                blocks.append(table.kinds_table(results))
                blocks.append(table.turns_table(results))
            else:
                blocks.append(f"{told}\n{table.turns_table(results)}")
        if label in report["story"]:
            blocks.append(table.story_table(report["story"][label]))
        if label in report["ambiguous"]:
            blocks.append(table.ambiguous_table(report["ambiguous"][label]))
        if label in report["identity"]:
            blocks.append(table.identity_table(report["identity"][label]))
        if label in report["codec"]:
            blocks.append(table.codec_table(report["codec"][label]))
        if label in report["judge"]:
            blocks.append(table.judge_table(report["judge"][label]))
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
        if settings.dataset is not None:
            continue
        if data.kind != "sessions":
            check_held_out(data.seed, settings.seed)
        elif not settings.shapes:
            raise UserError(
                f"{contestant.path}: trained on {data.kind!r}, not on sprites; give "
                "--dataset, a folder of sessions, or --shapes, those of held-out "
                "sprites, for one that was trained on files of sprites"
            )
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} exists and is not a folder; give another --out")


def _run_policies(
    contestant, settings, part, cases, out, instruments
) -> dict[str, PolicyRun]:
    """The cases of a part under every policy."""
    runs = {}
    positions = contestant.editor.run.memory.positions
    for name, memory in settings.policies.items():
        title = f"{contestant.label}, {part}, {name}"
        store = run_cases(
            contestant,
            cases,
            dataclasses.replace(memory, positions=positions),
            contestant.sampler,
            settings.seed,
            settings.batch,
            out / FRAMES / contestant.label / part / name,
            title,
        )
        runs[name] = measure_cases(cases, store, instruments, out / ANSWERS, title)
    return runs


def _run_ambiguous(contestant, settings, cases, out) -> dict[str, dict]:
    """Every sampler on the ambiguous instructions; the memory holds only the source."""
    answers = np.array([len(case.sprite.edits[0].valid) for case in cases])
    default = contestant.editor.run.sampler
    results = {}
    for sampler in contestant.ambiguous_samplers:
        title = sampler_title(sampler, default)
        scores = []
        for repetition in range(settings.repetitions):
            folder = f"{_folder_name(title)}_{repetition}"
            store = run_cases(
                contestant,
                cases,
                contestant.editor.run.memory,
                sampler,
                settings.seed + repetition,
                settings.batch,
                out / FRAMES / contestant.label / "ambiguous" / folder,
                f"{contestant.label}, ambiguous, {title}",
            )
            scores.append(score_cases(cases, [store.read(case) for case in cases]))
        results[title] = summarise_ambiguous(scores, answers)
    return results


def _folder_name(title: str) -> str:
    """Of a sampler's results; a text in its title may hold anything."""
    short, _, text = title.partition(":negative=")
    name = short.replace(":", "_").replace("/", "_")
    return f"{name}_{files.sha256(text.encode(), digits=8)}" if text else name


def _comparisons(runs: Mapping[str, Mapping[str, PolicyRun]]) -> list[dict]:
    """On the same sessions: every later policy against the first of its contestant,
    and every later contestant against the first under the same policy."""
    pairs = []
    for label, policies in runs.items():
        first, *others = policies
        pairs += [((label, first), (label, other)) for other in others]
    first, *others = runs or [None]
    pairs += [((first, p), (label, p)) for label in others for p in runs[label]]
    return [
        {
            "first": {"checkpoint": a[0], "policy": a[1]},
            "second": {"checkpoint": b[0], "policy": b[1]},
            "difference": compare(runs[a[0]][a[1]].measures, runs[b[0]][b[1]].measures),
        }
        for a, b in pairs
    ]


def _write(out: Path, report, runs) -> None:
    figures = out / FIGURES
    if figures.exists():
        shutil.rmtree(figures)  # some may be of checkpoints that are not in this run
    figures.mkdir(parents=True)
    groups = groups_of(report)
    pictures = write_pictures(figures, report, runs, groups)
    write_turns(out / "turns.csv", report, OVER_TURNS)
    write_sessions(out / "sessions.csv", {part: runs[part] for part in OVER_TURNS})
    text = format_report(report)
    write_html(out / "report.html", report, text, pictures, measures_of(groups))
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")


def _describe_judgements(runs) -> dict:
    """What the judge was asked and what that cost, where one was."""
    told: dict = {}
    for label, policies in runs.items():
        for policy, run in policies.items():
            if run.judgement is not None:
                told.setdefault(label, {})[policy] = {
                    "asked": run.judgement.asked,
                    "reused": run.judgement.reused,
                    "unjudged": run.judgement.unjudged,
                    "usage": dataclasses.asdict(run.judgement.usage),
                }
    return told


def _told(settings: Settings) -> dict:
    policies = {
        name: {"sink": memory.sink, "window": memory.window}
        for name, memory in settings.policies.items()
    }
    return {**dataclasses.asdict(settings), "policies": policies}


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
