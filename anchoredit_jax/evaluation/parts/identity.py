"""The identity loop: the null instruction, again and again; any change is drift."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.evaluation.parts.sessions import session_cases
from anchoredit_jax.evaluation.runs import Part, PolicyRun, run_policies
from anchoredit_jax.evaluation.settings import Settings
from anchoredit_jax.evaluation.summary import summarise
from anchoredit_jax.evaluation.table import (
    Table,
    by_policy,
    joined,
    marks,
    show,
    text_table,
)


def _cases(settings: Settings, editor: Any) -> list[Case]:
    cases = session_cases(settings, editor, settings.identity_sessions)
    turns = max(len(case.instructions) for case in cases)
    return identity_cases(cases, settings.turns or turns)


def identity_cases(cases: Sequence[Case], turns: int) -> list[Case]:
    """The sources of cases under `turns` null instructions; the source is the truth."""
    return [
        Case(
            name=case.name,
            source=case.source,
            instructions=("",) * turns,
            read_truth=functools.partial(
                np.broadcast_to, case.source, (turns + 1, *case.source.shape)
            ),
        )
        for case in cases
    ]


def _numbers(runs: Mapping[str, PolicyRun]) -> dict[str, dict]:
    return {policy: summarise(run.measures) for policy, run in runs.items()}


def _blocks(table: Table, checkpoint: str) -> list[str]:
    """How far the null instruction, again and again, leads from the source."""
    rows = table.where(part=PART.name, checkpoint=checkpoint)
    turns = rows.turns
    columns = {
        f"mean difference of 255, turn {joined(marks(turns))}": show(
            "source_difference", 2, marks(turns)
        ),
        f"SSIM, turn {turns}": show("identity_ssim", 3, [turns]),
    }
    return [text_table("identity loop", by_policy(rows), columns)]


PART = Part(
    name="identity",
    title="Identity loop (the null instruction, again and again)",
    cases=_cases,
    run=run_policies,
    numbers=_numbers,
    blocks=_blocks,
    of_dataset=True,
    over_turns=True,
    features=True,
)
