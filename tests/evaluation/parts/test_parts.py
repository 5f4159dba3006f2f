"""Another part is one object in one table: it is run, printed, written and drawn."""

import csv
import json

from PIL import Image

from anchoredit_jax.evaluation import (
    DATASET_PARTS,
    PARTS,
    Part,
    Settings,
    evaluate,
    parse_policies,
)
from anchoredit_jax.evaluation.parts.identity import identity_cases
from anchoredit_jax.evaluation.parts.sessions import session_cases
from anchoredit_jax.evaluation.runs import run_policies
from anchoredit_jax.evaluation.summary import summarise
from anchoredit_jax.evaluation.table import by_policy, show, text_table
from tests.evaluation.test_report import make_contestant


def blocks(table, checkpoint):
    rows = table.where(part="glances", checkpoint=checkpoint)
    columns = {"difference, turn 2": show("source_difference", 3, [2])}
    return [text_table("a glance", by_policy(rows), columns)]


GLANCES = Part(
    name="glances",
    title="Two glances",
    cases=lambda settings, editor: identity_cases(
        session_cases(settings, editor, 2), turns=2
    ),
    run=run_policies,
    numbers=lambda runs: {name: summarise(run.measures) for name, run in runs.items()},
    blocks=blocks,
    picture=lambda runs: Image.fromarray(runs["sink1_window1"].frames(0)[0]),
    over_turns=True,
)


def rows_of(path):
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["part"] == "glances"]


def test_a_sixth_part(tmp_path, monkeypatch, capsys, tiny_editor):
    monkeypatch.setitem(PARTS, GLANCES.name, GLANCES)
    settings = Settings(
        parse_policies("sink1_window1"), parts=("glances",), turns=2, batch=2
    )
    report = evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    result = report["glances"]["toy"]["sink1_window1"]
    value = result["per_turn"]["source_difference"][1]
    assert value["count"] == 2 and value["mean"] > 0
    assert json.loads((tmp_path / "report.json").read_text())["glances"]
    printed = capsys.readouterr().out
    assert "a glance" in printed and f"{value['mean']:.3f}" in printed
    (mean,) = [
        row
        for row in rows_of(tmp_path / "turns.csv")
        if (row["measure"], row["turn"]) == ("source_difference", "2")
    ]
    assert float(mean["mean"]) == value["mean"]
    assert [row["turn"] for row in rows_of(tmp_path / "sessions.csv")] == list("1212")
    page = (tmp_path / "report.html").read_text()
    assert "Two glances, turn by turn" in page and "a glance" in page
    assert f">{value['mean']:.4g}</span>" in page
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"glances.png", "sheet_glances_toy.png"} < drawn
    assert "drift_glances_identity_toy.png" in drawn


def test_a_part_is_known_by_the_name_that_it_gives_itself():
    assert all(name == part.name for name, part in PARTS.items())
    assert DATASET_PARTS == ("table", "single_turn", "identity", "codec")
