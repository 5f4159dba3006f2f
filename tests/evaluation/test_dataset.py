"""An evaluation on sessions of one's own, with extractors and a judge."""

import csv
import json
import types

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation import (
    PARTS,
    Settings,
    evaluate,
    parse_policies,
    runs,
)
from anchoredit_jax.evaluation.judge import JudgeConfig, Judgement, TurnScores, Usage
from anchoredit_jax.evaluation.measures import check_names
from tests.evaluation.test_report import make_contestant

SESSIONS = {"cat": ["make it blue", "add a hat", ""], "dog": ["x", "y"]}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two sessions of different lengths; only the dog's answers are known."""
    root, rng = tmp_path_factory.mktemp("sessions"), np.random.default_rng(0)
    for name, texts in SESSIONS.items():
        (root / name).mkdir()
        document = {"instructions": [{"en": text} for text in texts]}
        if name == "cat":
            document["turns"] = [{}, {}, {"returns_to": 1}]
        (root / name / f"{name}.json").write_text(json.dumps(document))
        for number in range(len(texts) + 1 if name == "dog" else 1):
            sides = (96, 128) if name == "cat" else (128, 80)
            pixels = rng.integers(0, 256, (*sides, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}.{number}.png")
    return root


def extractor(images):
    """The mean colour."""
    return images.mean((1, 2)).astype(np.float32)


extractor.name = "colour"


@pytest.fixture(scope="module")
def written(tmp_path_factory, dataset, tiny_editor):
    asked = []

    def judge_sessions(config, sessions, cache, on_turn):
        scores = {}
        for name, frames, texts in sessions:
            asked.append((name, frames.shape, tuple(texts), cache.name))
            levels = np.arange(len(texts), dtype=np.float64) + 6
            scores[name] = TurnScores(levels, levels + 1, ("",) * len(texts))
        return Judgement(scores, 5, 0, 0, Usage(10, 2), Usage(10, 2))

    settings = Settings(
        parse_policies("full"),
        parts=("table", "identity"),
        dataset=str(dataset),
        sessions=None,
        turns=None,
        batch=2,
    )
    out = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "judge_sessions", judge_sessions)
        toy = make_contestant(tiny_editor, "toy", kind="sessions")
        judge = JudgeConfig("a-model")
        return evaluate([toy], settings, out, [extractor], judge), out, asked


def test_sessions_may_differ_in_length(written):
    report, out, _ = written
    result = report["table"]["toy"]["full"]
    assert (result["sessions"], result["turns"]) == (2, 3)
    counts = [t["count"] for t in result["per_turn"]["source_difference"]]
    assert counts == [2, 2, 1]
    with (out / "sessions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "table"]
    found = [(row["session"], row["turn"], row["instruction"]) for row in rows]
    assert found == [
        (name, str(turn), text)
        for name, texts in SESSIONS.items()
        for turn, text in enumerate(texts, 1)
    ]


def test_a_session_is_edited_at_the_shape_of_its_source(written):
    """Of a checkpoint that was trained so; shapes are told apart by that size."""
    report, out, _ = written
    shapes = report["table"]["toy"]["full"]["by_shape"]
    assert {name: one["sessions"] for name, one in shapes.items()} == {
        "12x16": 1,
        "20x12": 1,
    }
    frames = out / "frames" / "toy" / "table" / "full"
    with Image.open(frames / "dog.png") as strip:
        assert strip.size == (12, 2 * 20)


def test_what_is_kept_is_measured_where_answers_are_known(written):
    """All pixels of noise change from frame to frame, but in the identity loop."""
    report, _, _ = written
    known = report["identity"]["toy"]["full"]["per_turn"]["identity_psnr"]
    assert [turn["count"] for turn in known] == [2, 2, 2]


def test_returns_are_measured(written):
    report, out, _ = written
    turns = report["table"]["toy"]["full"]["per_turn"]["return_psnr"]
    assert [turn["count"] for turn in turns] == [0, 0, 1]
    assert (out / "figures" / "drift_table_returns_toy.png").exists()


def test_an_extractor_is_part_of_the_report(written):
    report, out, _ = written
    for part in ("table", "identity"):
        turns = report[part]["toy"]["full"]["per_turn"]["colour_source"]
        assert all(0.0 < turn["mean"] <= 1.0 for turn in turns)
    assert report["instruments"]["extractors"] == ["colour"]
    assert (out / "figures" / "drift_table_features_toy.png").exists()
    assert "colour similarity to the source" in (out / "report.html").read_text()


def test_a_judge_sees_every_session_with_its_source(written):
    _, _, asked = written
    assert asked == [
        ("a first question", (2, 64, 64, 3), ("",), "judge.jsonl"),
        ("cat", (4, 12, 16, 3), tuple(SESSIONS["cat"]), "judge.jsonl"),
        ("dog", (3, 20, 12, 3), tuple(SESSIONS["dog"]), "judge.jsonl"),
    ]  # not those of the identity loop, which needs none


def test_only_what_is_reported_is_measured():
    asks = {part.name: (part.features, part.judged) for part in PARTS.values()}
    assert asks.pop("table") == (True, True)
    assert asks.pop("identity") == asks.pop("single_turn") == (True, False)
    assert set(asks.values()) == {(False, False)}


def test_a_judge_is_part_of_the_report(written, capsys):
    report, out, _ = written
    turns = report["table"]["toy"]["full"]["per_turn"]
    assert [turn["mean"] for turn in turns["judge_instruction"]] == [6.0, 7.0, 8.0]
    # The first turn's instruction score does not pass, its consistency does.
    assert [turn["mean"] for turn in turns["judge_success"]] == [0.0, 0.0, 0.0]
    assert [turn["mean"] for turn in turns["judge_kept"]] == [1.0, 1.0, 1.0]
    assert report["judge"]["toy"]["full"]["usage"]["prompt_tokens"] == 10
    assert (out / "figures" / "drift_table_judge_toy.png").exists()


def test_a_dataset_that_is_not_there(tmp_path, tiny_editor):
    settings = Settings(
        parse_policies("full"), parts=("table",), dataset=str(tmp_path / "nowhere")
    )
    toy = make_contestant(tiny_editor, "toy", kind="sessions")
    with pytest.raises(UserError, match="nowhere"):
        evaluate([toy], settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_extractors_need_names_of_their_own():
    other = types.SimpleNamespace(name="colour")
    with pytest.raises(UserError, match="two extractors share a name"):
        check_names((extractor, other))
