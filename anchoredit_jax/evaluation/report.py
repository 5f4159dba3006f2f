"""The whole evaluation of one or more checkpoints: run it, then write and print it."""

import dataclasses
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.belongings import Belongings
from anchoredit_jax.data.sprites import check_held_out
from anchoredit_jax.diffusion.sampler_text import sampler_title
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.fairness import (
    find_identical,
    identical_notes,
    size_notes,
    unfinished_notes,
)
from anchoredit_jax.evaluation.first_screen import front_of
from anchoredit_jax.evaluation.frame_store import check_stores
from anchoredit_jax.evaluation.front import draw_front
from anchoredit_jax.evaluation.html_report import write_html
from anchoredit_jax.evaluation.judge import JudgeConfig, check_answers
from anchoredit_jax.evaluation.measures import FeatureExtractor, check_names
from anchoredit_jax.evaluation.parts import PARTS, check_parts, sessions
from anchoredit_jax.evaluation.pictures import (
    Picture,
    draw_stills,
    draw_turns,
    figures_of,
)
from anchoredit_jax.evaluation.runs import (
    ANSWERS,
    FRAMES,
    Job,
    check_judge,
    measure_truth,
)
from anchoredit_jax.evaluation.settings import Contestant, Settings
from anchoredit_jax.evaluation.summary import summarise
from anchoredit_jax.evaluation.table import table_of, write_sessions, write_turns
from anchoredit_jax.in_use import in_use
from anchoredit_jax.version import __version__

log = logging.getLogger(__name__)

FORMAT = 2  # of report.json
FIGURES = "figures"
WRITTEN = ("report.html", "report.json", "turns.csv", "sessions.csv", FIGURES)
_ADVICE = "give another --out"


def evaluate(
    contestants: Sequence[Contestant],
    settings: Settings,
    out: str | Path,
    extractors: Sequence[FeatureExtractor] = (),
    judge: JudgeConfig | None = None,
) -> dict:
    """Run every part on every contestant, write the report, print the tables.

    Writes to `out`: report.html, report.json, turns.csv, sessions.csv, figures/, which
    the page holds too, and frames/, with which a stopped evaluation goes on. An earlier
    evaluation's files are replaced; those of others, and what somebody changed, never.

    Example:
        from anchoredit_jax import evaluate, load_editor
        from anchoredit_jax.evaluation import Contestant, Settings, parse_policies

        editor = load_editor()
        toy = Contestant("toy", "shipped", editor, editor.sampler)
        policies = parse_policies("sink1_window3,window3")
        settings = Settings(policies, parts=("table",), sessions=3, turns=2)
        report = evaluate([toy], settings, "report")
        print(report["table"]["toy"].keys())

    Args:
      extractors: make features of images, each with a name of its own.
      judge: the endpoint that judges instructions; None for none.

    Returns:
      what report.json holds.

    Raises:
      UserError: before anything is edited, if a checkpoint does not fit the test, or
        `out` holds results of other settings or other files in the places of these.
    """
    settings, out = check_parts(settings), Path(out)
    _check(contestants, settings, out)
    check_names(extractors)
    with in_use(out):
        return _evaluate(contestants, settings, out, extractors, judge)


def _evaluate(
    contestants: Sequence[Contestant],
    settings: Settings,
    out: Path,
    extractors: Sequence[FeatureExtractor],
    judge: JudgeConfig | None,
) -> dict:
    """`evaluate`, in a folder that nobody else writes into."""
    # Read, and refused, before the first of them is edited. All contestants have the
    # sizes of the first.
    cases = {
        part: PARTS[part].cases(settings, contestants[0].editor)
        for part in settings.parts
    }
    every = [case for own in cases.values() for case in own]
    notes = [*unfinished_notes(contestants), *size_notes(contestants, every)]
    for note in notes:
        log.warning("%s", note)
    if judge is not None and any(PARTS[part].judged for part in settings.parts):
        check_judge(judge, out)
    results: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for contestant in contestants:
        for name in settings.parts:
            part = PARTS[name]
            asked = extractors if part.features else (), judge if part.judged else None
            job = Job(contestant, settings, name, out, *asked)
            results[name][contestant.label] = part.run(job, cases[name])
    truth = {
        part: measure_truth(cases[part])
        for part in settings.parts
        if PARTS[part].over_turns
    }
    main = results[sessions.PART.name]
    identical = find_identical(results)
    report = {
        "format": FORMAT,
        "version": __version__,
        "settings": settings.told(),
        "notes": [*notes, *identical_notes(identical)],
        "identical": identical,
        "instruments": {
            "extractors": [extractor.name for extractor in extractors],
            # The key is no part of a judge's configuration.
            "judge": None if judge is None else dataclasses.asdict(judge),
        },
        "contestants": [_describe(contestant) for contestant in contestants],
        **{
            name: {label: part.numbers(own) for label, own in results[name].items()}
            for name, part in PARTS.items()
        },
        "truth": {part: summarise(found) for part, found in truth.items() if found},
        "judge": sessions.describe_judgements(main),
        "comparisons": sessions.compare_runs(main),
    }
    _write(out, report, results)
    print(format_report(report))
    return report


def check_out(out: Path) -> None:
    """Refuse a folder in which others' files are where an evaluation writes its own.

    Raises:
      UserError: it names the first of them.
    """
    Belongings(out, _ADVICE).check(WRITTEN)
    check_stores(out / FRAMES, _ADVICE)
    check_answers(out / ANSWERS)


def format_report(report: Mapping[str, Any]) -> str:
    """The tables of a report (what `report.json` holds), for a console."""
    table, blocks = table_of(report, PARTS), []
    for contestant in report["contestants"]:
        label = contestant["label"]
        blocks.append(f"== {label} ({contestant['path']}, {contestant['sampler']}) ==")
        for name, part in PARTS.items():
            if table.where(part=name, checkpoint=label).rows:
                blocks += part.blocks(table, label)
        if label in report["judge"]:
            blocks.append(sessions.judge_table(report["judge"][label]))
    if report["comparisons"]:
        blocks.append(sessions.comparison_table(report["comparisons"]))
    blocks += report.get("notes", ())
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
    check_out(out)


def _write(out: Path, report: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="anchoredit_report_") as scratch:
        made = Path(scratch)
        _write_files(made, report, results)
        Belongings(out, _ADVICE).take(made)


def _write_files(
    out: Path, report: Mapping[str, Any], results: Mapping[str, Any]
) -> None:
    folder = out / FIGURES
    folder.mkdir()
    over_turns = [part for part in PARTS.values() if part.over_turns]
    pictures: dict[str, list[Picture]] = {}
    for part in over_turns:
        pictures |= draw_turns(folder, part, report, results[part.name])
    for part in PARTS.values():
        pictures |= draw_stills(folder, part, results[part.name])
    pictures = {heading: drawn for heading, drawn in pictures.items() if drawn}
    names = [part.name for part in over_turns]
    write_turns(out / "turns.csv", table_of(report, names))
    write_sessions(out / "sessions.csv", {name: results[name] for name in names})
    figures = figures_of(report["instruments"]["extractors"])
    measures = [measure for figure in figures for measure in figure.measures]
    about = front_of(report, measures)
    front: tuple[list[Picture], list[Picture]] = ([], [])
    if about.part is not None:
        runs = results[about.part]
        front = draw_front(
            folder, report, about.part, runs, about.measures, about.policy
        )
    text = format_report(report)
    write_html(out / "report.html", report, text, front, pictures, measures)
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")


def _describe(contestant: Contestant) -> dict:
    default = contestant.editor.run.sampler
    lineage = contestant.editor.lineage
    return {
        "label": contestant.label,
        "path": contestant.path,
        "stage": contestant.editor.run.stage,
        "trained_at": contestant.editor.side,
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
