"""The whole evaluation on a tiny random network: everything is written and printed."""

import csv
import json
import types

import jax
import numpy as np
import pytest

from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation import (
    Contestant,
    Settings,
    evaluate,
    parse_policies,
    rollout,
)
from anchoredit_jax.evaluation.html_report import write_html
from anchoredit_jax.memory import MemoryConfig

SMALL = dict(
    sessions=3,
    turns=2,
    story_sessions=2,
    ambiguous_sessions=2,
    identity_sessions=2,
    batch=2,
)


def make_contestant(editor, label, *, kind="sprites", seed=0) -> Contestant:
    sampler = SamplerConfig("few_step", 2, 3.0)
    run = types.SimpleNamespace(
        model=editor.run.model,
        stage="causal_forcing",
        memory=MemoryConfig(1, 1),
        sampler=sampler,
        data=types.SimpleNamespace(kind=kind, seed=seed, size=16),
    )
    editor = types.SimpleNamespace(**{**vars(editor), "run": run})
    return Contestant(label, f"weights/{label}", editor, sampler, (sampler,))


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_editor):
    out = tmp_path_factory.mktemp("evaluation") / "new" / "report"
    settings = Settings(parse_policies("sink1_window1"), **SMALL)
    contestants = [
        make_contestant(tiny_editor, "teacher"),
        make_contestant(tiny_editor, "student"),
    ]
    return evaluate(contestants, settings, out), out


def test_everything_is_written(written):
    _, out = written
    drawn = {path.name for path in (out / "figures").iterdir()}
    figures = {
        f"drift_{part}_{group}_{name}.png"
        for part, groups in (
            ("table", ("edits", "identity", "colour")),
            ("identity", ("identity", "colour")),
        )
        for group in groups
        for name in ("student", "teacher", "by_checkpoint_sink1_window1")
    }
    sheets = {
        f"sheet_{part}_{name}.png"
        for part in ("table", "identity")
        for name in ("student", "teacher")
    }
    assert drawn == figures | sheets | {"story.png", "story_student.png"}
    assert {path.name for path in out.iterdir()} == {
        "figures",
        "frames",
        "report.html",
        "report.json",
        "sessions.csv",
        "turns.csv",
    }


def test_the_page_needs_nothing_else(written):
    """All pictures are inside of it, and nothing is fetched."""
    report, out = written
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list(out.glob("figures/*")))
    for outside in ("http:", "https:", "<script", "<link", 'src="/', "url("):
        assert outside not in page
    assert "Evaluation of teacher, student" in page
    assert "student, sink 1 + window 1" in page
    value = report["table"]["student"]["sink1_window1"]["per_turn"]["success"][1]
    assert f">{value['mean']:.4g}</span>" in page


def test_texts_of_a_page_are_no_markup(tmp_path, written):
    report, _ = written
    report = {**report, "contestants": [{"label": "<b>&"}]}
    write_html(tmp_path / "page.html", report, "<i>", {}, ())
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;&amp;" in page and "<pre>&lt;i&gt;</pre>" in page


def test_means_as_csv(written):
    report, out = written
    with (out / "turns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [
        row
        for row in rows
        if (row["part"], row["checkpoint"], row["measure"], row["turn"])
        == ("table", "student", "source_difference", "2")
    ]
    value = report["table"]["student"]["sink1_window1"]["per_turn"]
    assert float(row["mean"]) == value["source_difference"][1]["mean"]
    assert row["count"] == "3" and row["policy"] == "sink1_window1"
    assert {row["part"] for row in rows} == {"table", "identity"}


def test_every_value_as_csv(written):
    report, out = written
    with (out / "sessions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (3 * 2 + 2 * 2)  # checkpoints x (sessions, loops) x turns
    mine = [
        float(row["source_difference"])
        for row in rows
        if (row["part"], row["checkpoint"], row["turn"]) == ("table", "teacher", "2")
    ]
    value = report["table"]["teacher"]["sink1_window1"]["per_turn"]
    assert np.mean(mine) == pytest.approx(value["source_difference"][1]["mean"])
    loops = [row for row in rows if row["part"] == "identity"]
    assert {row["instruction"] for row in loops} == {""}
    assert {row["success"] for row in loops} == {""}


def test_report_is_strict_json_and_what_was_returned(written):
    report, out = written

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (out / "report.json").read_text()
    assert json.loads(text, parse_constant=refuse) == json.loads(json.dumps(report))
    assert report["settings"]["sessions"] == 3
    assert report["settings"]["policies"] == {"sink1_window1": {"sink": 1, "window": 1}}
    table = report["table"]["student"]["sink1_window1"]
    assert table["sessions"] == 3 and len(table["per_turn"]["success"]) == 2
    assert set(report["ambiguous"]["teacher"]) == {"few_step:2"}
    assert set(report["story"]["teacher"]) == {"sink1_window1"}


def test_equal_checkpoints_do_not_differ(written):
    report, _ = written
    (entry,) = report["comparisons"]
    assert entry["first"] == {"checkpoint": "teacher", "policy": "sink1_window1"}
    assert entry["second"] == {"checkpoint": "student", "policy": "sink1_window1"}
    assert entry["difference"]["success"]["mean"] == 0.0


def test_parts_can_be_left_out(tmp_path, capsys, tiny_editor):
    settings = Settings(parse_policies("sink1_window1"), parts=("story",), **SMALL)
    report = evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    assert report["table"] == report["ambiguous"] == {} and report["story"]["toy"]
    assert [path.name for path in tmp_path.glob("figures/*")] == ["story.png"]
    printed = capsys.readouterr().out
    assert "cover, other edits, uncover" in printed and "ambiguous" not in printed


def test_wrong_input_writes_nothing(tmp_path, tiny_editor):
    settings = Settings(parse_policies("full"), **SMALL)
    out = tmp_path / "report"
    toy = make_contestant(tiny_editor, "toy")
    cases = [
        ([], "no checkpoint"),
        ([toy, toy], "share a name"),
        ([make_contestant(tiny_editor, "a", kind="sessions")], "give --dataset"),
        ([make_contestant(tiny_editor, "a", seed=900_000_000)], "another --seed"),
    ]
    for contestants, message in cases:
        with pytest.raises(UserError, match=message):
            evaluate(contestants, settings, out)
    assert not out.exists()
    out.write_text("a file")
    with pytest.raises(UserError, match="is not a folder"):
        evaluate([toy], settings, out)


@pytest.mark.parametrize(
    "change",
    [
        {"sessions": 0},
        {"turns": 0},
        {"batch": 0},
        {"repetitions": 0},
        {"seed": -1},
        {"parts": ("tables",)},
        {"parts": ()},
        {"identity_sessions": 0},
        {"sessions": None},
        {"dataset": "folder", "parts": ("story",)},
    ],
)
def test_wrong_settings(change):
    with pytest.raises(UserError, match="must be "):
        Settings(parse_policies("full"), **{**SMALL, **change})


def test_results_are_reproducible(tmp_path, written, tiny_editor):
    report, _ = written
    settings = Settings(parse_policies("sink1_window1"), parts=("table",), **SMALL)
    again = evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    first = report["table"]["teacher"]["sink1_window1"]["per_turn"]["subject_psnr"]
    second = again["table"]["toy"]["sink1_window1"]["per_turn"]["subject_psnr"]
    means = [[turn["mean"] for turn in turns] for turns in (first, second)]
    np.testing.assert_allclose(*np.array(means, float), atol=0.05)


def test_a_stopped_evaluation_goes_on(tmp_path, monkeypatch, written, tiny_editor):
    """Sessions that were finished are not edited again, and the result is the same."""
    report, _ = written
    settings = Settings(parse_policies("sink1_window1"), parts=("table",), **SMALL)
    toy, turns = make_contestant(tiny_editor, "teacher"), []
    run_turn = rollout._turn

    def counted(*args, **options):
        if len(turns) == stop:
            raise KeyboardInterrupt
        turns.append(args)
        return run_turn(*args, **options)

    monkeypatch.setattr(rollout, "_turn", counted)
    stop = 3  # in the second of two batches of two turns
    with pytest.raises(KeyboardInterrupt):
        evaluate([toy], settings, tmp_path)
    assert len(list(tmp_path.rglob("sprite_*.png"))) == 2
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "drift_of_another.png").write_bytes(b"")
    stop, turns = None, []
    again = evaluate([toy], settings, tmp_path)
    assert not (tmp_path / "figures" / "drift_of_another.png").exists()
    assert len(turns) == 2
    assert again["table"]["teacher"] == report["table"]["teacher"]


def test_the_weights_are_read_once(tmp_path, monkeypatch, tiny_editor):
    """Not once a part and policy: of 14B that is most of a small evaluation."""
    read = []
    monkeypatch.setattr(
        "anchoredit_jax.evaluation.settings.digest",
        lambda params: read.append(params) or "0123456789abcdef",
    )
    policies = parse_policies("sink1_window1,full")
    settings = Settings(policies, parts=("table", "identity"), **SMALL)
    evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    assert len(read) == 1


def test_results_of_other_weights_are_refused(tmp_path, tiny_editor):
    settings = Settings(parse_policies("sink1_window1"), parts=("table",), **SMALL)
    evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    params = jax.tree.map(lambda leaf: leaf + 1, tiny_editor.params)
    other = types.SimpleNamespace(**{**vars(tiny_editor), "params": params})
    with pytest.raises(UserError, match="another weights"):
        evaluate([make_contestant(other, "toy")], settings, tmp_path)
