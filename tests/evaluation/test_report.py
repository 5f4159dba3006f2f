"""The whole evaluation on a tiny random network: everything is written and printed."""

import json
import types

import numpy as np
import pytest

from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation import Contestant, Settings, evaluate, parse_policies
from anchoredit_jax.memory import MemoryConfig

SMALL = dict(sessions=3, turns=2, story_sessions=2, ambiguous_sessions=2, batch=2)


def make_contestant(editor, label, *, name="sprites", seed=0) -> Contestant:
    sampler = SamplerConfig("few_step", 2, 3.0)
    run = types.SimpleNamespace(
        model=editor.run.model,
        stage="causal_forcing",
        memory=MemoryConfig(1, 1),
        sampler=sampler,
        data=types.SimpleNamespace(name=name, seed=seed, size=16),
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
    assert sorted(path.name for path in out.iterdir()) == [
        "drift_by_checkpoint_sink1_window1.png",
        "drift_student.png",
        "drift_teacher.png",
        "report.json",
        "sheet_student.png",
        "sheet_teacher.png",
        "story.png",
        "story_student.png",
    ]


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
    assert (entry["first"], entry["second"]) == ("teacher", "student")
    assert entry["policy"] == "sink1_window1"
    assert entry["difference"]["success"]["mean"] == 0.0


def test_parts_can_be_left_out(tmp_path, capsys, tiny_editor):
    settings = Settings(parse_policies("sink1_window1"), parts=("story",), **SMALL)
    report = evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    assert report["table"] == report["ambiguous"] == {} and report["story"]["toy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.json",
        "story.png",
    ]
    printed = capsys.readouterr().out
    assert "cover, other edits, uncover" in printed and "ambiguous" not in printed


def test_wrong_input_writes_nothing(tmp_path, tiny_editor):
    settings = Settings(parse_policies("full"), **SMALL)
    out = tmp_path / "report"
    toy = make_contestant(tiny_editor, "toy")
    cases = [
        ([], "no checkpoint"),
        ([toy, toy], "share a name"),
        ([make_contestant(tiny_editor, "a", name="folders")], "ground truth"),
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
    ],
)
def test_wrong_settings(change):
    with pytest.raises(UserError, match="must be"):
        Settings(parse_policies("full"), **{**SMALL, **change})


def test_results_are_reproducible(tmp_path, written, tiny_editor):
    report, _ = written
    settings = Settings(parse_policies("sink1_window1"), parts=("table",), **SMALL)
    again = evaluate([make_contestant(tiny_editor, "toy")], settings, tmp_path)
    first = report["table"]["teacher"]["sink1_window1"]["per_turn"]["subject_psnr"]
    second = again["table"]["toy"]["sink1_window1"]["per_turn"]["subject_psnr"]
    means = [[turn["mean"] for turn in turns] for turns in (first, second)]
    np.testing.assert_allclose(*np.array(means, float), atol=0.05)
