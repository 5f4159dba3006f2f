"""Every turn by itself, from the right image before it: what an edit costs when no
earlier one has spoilt anything."""

from collections.abc import Mapping
from typing import Any

from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.evaluation.datasets import MAGICBRUSH, single_turn_cases
from anchoredit_jax.evaluation.parts.sessions import targets_table
from anchoredit_jax.evaluation.runs import Part, PolicyRun, run_policies
from anchoredit_jax.evaluation.settings import Settings
from anchoredit_jax.evaluation.summary import summarise
from anchoredit_jax.evaluation.table import Table


def _cases(settings: Settings, editor: Any) -> list[Case]:
    return single_turn_cases(
        settings.dataset, editor.size_of, settings.turns, settings.sessions
    )


def _numbers(runs: Mapping[str, PolicyRun]) -> dict[str, dict]:
    return {policy: summarise(run.measures) for policy, run in runs.items()}


def _blocks(table: Table, checkpoint: str) -> list[str]:
    rows = table.where(part=PART.name, checkpoint=checkpoint)
    edits = int(rows.first(measure="sessions").mean)
    return [f"{edits} single turns", *targets_table(rows, turn=1)]


PART = Part(
    name="single_turn",
    title="Single turns, each from the right image before it",
    cases=_cases,
    run=run_policies,
    numbers=_numbers,
    blocks=_blocks,
    of_dataset=True,
    layout=MAGICBRUSH,
    over_turns=True,
    features=True,
)
