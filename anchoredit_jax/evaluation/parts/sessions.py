"""The main part: sessions of mixed edits, sprites held out or a data set of one's own.

Its runs are what a judge sees, and what is compared between policies and checkpoints.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from anchoredit_jax.data.sprites import held_out_sessions
from anchoredit_jax.evaluation.cases import Case, sprite_cases, sprite_views
from anchoredit_jax.evaluation.datasets import dataset_cases
from anchoredit_jax.evaluation.fairness import distinct
from anchoredit_jax.evaluation.measures import TARGETS, describe_targets
from anchoredit_jax.evaluation.policies import policy_title
from anchoredit_jax.evaluation.runs import Part, PolicyRun, run_policies
from anchoredit_jax.evaluation.settings import Settings
from anchoredit_jax.evaluation.summary import LAST, by_shape, compare, summarise
from anchoredit_jax.evaluation.table import (
    Row,
    Table,
    by_policy,
    format_table,
    joined,
    marks,
    show,
    text_table,
)

# (measure, title, digits) of what the console shows.
_SHOWN = 5  # reasons of turns without a score
OVER_TURNS = (
    ("subject_psnr", "subject PSNR, turn", 1),
    ("identity_psnr", "PSNR of what stays as in the source, turn", 1),
    ("identity_ssim", "SSIM of what stays as in the source, turn", 3),
    ("source_difference", "mean difference from the source of 255, turn", 1),
    ("judge_instruction", "judge: instruction, turn", 1),
    ("judge_consistency", "judge: consistency, turn", 1),
)
COMPARED = (
    ("success", "edit success", 3),
    ("subject_psnr_last", "subject PSNR, last turn", 2),
    ("identity_psnr_last", "PSNR as in the source, last turn", 2),
    ("untouched_psnr_last", "untouched PSNR, last turn", 2),
    ("state_last", "whole state, last turn", 3),
)


def session_cases(settings: Settings, editor: Any, count: int | None) -> list[Case]:
    """So many sessions of the data set or, without one, of held-out sprites.

    Raises:
      UserError: a data set that cannot be read.
    """
    if settings.dataset is None:
        sessions = held_out_sessions(count, settings.turns, settings.seed)
        return sprite_cases(sessions, sprite_views(settings, editor))
    return dataset_cases(
        settings.dataset,
        editor.size_of,
        language=settings.language,
        turns=settings.turns,
        limit=count,
    )


def _numbers(runs: Mapping[str, PolicyRun]) -> dict[str, dict]:
    whole = by_shape(lambda run: summarise(run.measures, run.scores, run.lengths))
    return {policy: whole(run) for policy, run in runs.items()}


def _blocks(table: Table, checkpoint: str) -> list[str]:
    every = table.where(checkpoint=checkpoint)
    rows = every.where(part=PART.name)
    sessions = int(rows.first(measure="sessions").mean)
    told = f"{sessions} sessions of up to {rows.turns} turns"
    if rows.first(measure="success") is None:
        return [f"{told}\n{turns_table(rows)}", *targets_table(rows, LAST)]
    shapes = [shapes_table(every)] if rows.names("shape") else []
    found = [f"{told}, held out\n{policies_table(rows)}", *shapes]
    return [*found, kinds_table(rows), turns_table(rows)]


def policies_table(rows: Table) -> str:
    """A line a policy: how many edits succeed, and what becomes of the subject."""
    turns = rows.turns
    columns = {
        f"edit success, {turns} turns": show("success", interval=True),
        f"subject PSNR, turn {joined(marks(turns))}": show(
            "subject_psnr", 1, marks(turns)
        ),
        f"retrieval, turn {turns}": show("retrieved", turns=[turns]),
        "uncover right": show("success", kind="uncover"),
        f"untouched PSNR, turn {turns}": show("untouched_psnr", 1, [turns]),
        f"whole state, turn {turns}": show("state", turns=[turns]),
    }
    return text_table("policy", by_policy(rows), columns)


def shapes_table(rows: Table) -> str:
    """A line a policy and shape, height x width of the sources; with what the story
    says of it, if that is there."""
    own = rows.where(part=PART.name)
    turns = own.turns
    columns = {
        "sessions": show("sessions", 0, part=PART.name),
        "edit success": show("success", interval=True),
        f"subject PSNR, turn {joined(marks(turns))}": show(
            "subject_psnr", 1, marks(turns), part=PART.name
        ),
        "uncover right": show("success", kind="uncover"),
        "of the story": show("uncover"),
    }
    lines = [
        (f"{title}, {shape}", rows.where(run=policy, shape=shape))
        for policy in own.names("run")
        for title in [policy_title(policy)]
        for shape in own.where(run=policy).names("shape")
    ]
    return text_table("by shape", lines, columns)


def kinds_table(rows: Table) -> str:
    """Edit success of every kind of instruction, a line a policy."""
    kinds = [kind for kind in rows.where(measure="success").names("kind")]
    columns = {kind: show("success", kind=kind) for kind in kinds if kind != LAST}
    return text_table("edit success by kind", by_policy(rows), columns)


def turns_table(rows: Table) -> str:
    """`OVER_TURNS` turn by turn, a block a measure; those without values left out."""
    blocks = []
    for name, title, digits in OVER_TURNS:
        if name == "source_difference" and blocks:
            continue  # where the truth is known, what was asked for is no difference
        found = rows.where(measure=name, shape="")
        if any(row.turn and row.mean is not None for row in found.rows):
            turns = range(1, found.turns + 1)
            columns = {str(turn): show(name, digits, [turn]) for turn in turns}
            blocks.append(text_table(title, by_policy(found), columns))
    return "\n\n".join(blocks)


def targets_table(rows: Table, kind: str = "", turn: int = 0) -> list[str]:
    """The metrics of published benchmarks, a line a policy; [] where there are none.

    Args:
      kind, turn: of which rows.
    """
    place = {"kind": kind, "turn": turn}
    known = [
        name
        for name in rows.where(**place, shape="").names("measure")
        if name in ("l1", "l2") or name.endswith(("_target", "_caption", "_oracle"))
        if rows.first(measure=name, **place).mean is not None
    ]
    if not known:
        return []
    titles = {one.name: one.title for one in TARGETS}
    columns = {}
    for name in known:
        extractor = name.rpartition("_")[0]
        titles |= {one.name: one.title for one in describe_targets(extractor)}
        columns[titles[name]] = show(name, 4, [turn], kind=kind)
    heading = "against the targets" + (f", {kind}" if kind else "")
    return [text_table(heading, by_policy(rows), columns)]


def describe_judgements(runs: Mapping[str, Mapping[str, PolicyRun]]) -> dict:
    """What the judge was asked and what that cost, where one was."""
    told: dict = {}
    for label, policies in runs.items():
        for policy, run in policies.items():
            if run.judgement is not None:
                told.setdefault(label, {})[policy] = {
                    "asked": run.judgement.asked,
                    "reused": run.judgement.reused,
                    "unjudged": run.judgement.unjudged,
                    "why": dict(run.judgement.why),
                    "usage": dataclasses.asdict(run.judgement.usage),
                }
    return told


def judge_table(told: Mapping[str, dict]) -> str:
    """How many turns the judge was asked about, and what that cost."""
    header = ["judge", "asked", "known before", "without a score", "tokens in", "out"]
    rows = [
        [
            policy_title(policy),
            *(str(entry[name]) for name in ("asked", "reused", "unjudged")),
            *(str(count) for count in entry["usage"].values()),
        ]
        for policy, entry in told.items()
    ]
    lines = [format_table(header, rows)]
    for policy, entry in told.items():
        some = list(entry["why"].items())[:_SHOWN]
        lines += [f"{policy_title(policy)}: {n} x {reason}" for reason, n in some]
        if (more := len(entry["why"]) - len(some)) > 0:
            lines.append(f"and {more} other reasons, in report.json")
    return "\n".join(lines)


def compare_runs(runs: Mapping[str, Mapping[str, PolicyRun]]) -> list[dict]:
    """Compare on the same sessions what is to be compared.

    That is every later policy with the first of its contestant, and every later
    contestant with the first under the same policy; policies whose results are another
    one's are left out.
    """
    pairs = []
    runs = {label: distinct(policies) for label, policies in runs.items()}
    for label, policies in runs.items():
        first, *others = policies
        pairs += [((label, first), (label, other)) for other in others]
    first, *others = runs or [None]
    pairs += [((first, p), (label, p)) for label in others for p in runs[label]]
    return [
        {
            "first": {"checkpoint": a[0], "policy": a[1]},
            "second": {"checkpoint": b[0], "policy": b[1]},
            "difference": compare(
                runs[a[0]][a[1]].measures,
                runs[b[0]][b[1]].measures,
                runs[a[0]][a[1]].lengths,
            ),
        }
        for a, b in pairs
    ]


def comparison_table(comparisons: Sequence[dict]) -> str:
    """Paired differences between checkpoints and between policies, from `compare`."""
    lines = []
    for entry in comparisons:
        first, second = entry["first"], entry["second"]
        told = f"{policy_title(second['policy'])} - {policy_title(first['policy'])}"
        if first["checkpoint"] != second["checkpoint"]:
            told = f"{second['checkpoint']} - {first['checkpoint']}"
            told += f", {policy_title(second['policy'])}"
        else:
            told = f"{first['checkpoint']}: {told}"
        rows = (
            Row(PART.name, "", told, name, **number)
            for name, number in entry["difference"].items()
        )
        lines.append((told, Table(tuple(rows))))
    known = {row.measure for _, rows in lines for row in rows.rows}
    columns = {
        title: show(name, digits, interval=True)
        for name, title, digits in COMPARED
        if name in known
    }
    return text_table("second minus first", lines, columns)


PART = Part(
    name="table",
    title="Sessions",
    cases=lambda settings, editor: session_cases(settings, editor, settings.sessions),
    run=run_policies,
    numbers=_numbers,
    blocks=_blocks,
    of_dataset=True,
    over_turns=True,
    features=True,
    judged=True,
)
