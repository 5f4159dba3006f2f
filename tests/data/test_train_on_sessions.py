"""Training on prepared images: from the command line to a stage's metrics."""

import json

import numpy as np
import pytest

from anchoredit_jax.config import load_config
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.data.sessions import list_parts
from launch import prepare_data, train
from tests.launch.test_train import fails

from .corpus import make_corpus

CONFIG = "configs/sessions.py"
SMALL = (
    "side=24,turns=2,model.dim=32,model.ffn_dim=32,model.num_heads=2,"
    "model.num_layers=1,data.batch=2,loop.log_every=1"
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("training")
    make_corpus(root / "raw", good=12)
    run("--source", root / "raw", "--out", root / "prepared", "--languages", "en,zh")
    return root / "prepared"


def run(*arguments):
    prepare_data.main([*map(str, arguments), "--quiet"])


def rows_of(workdir, stage):
    text = (workdir / stage / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_stage_trains_on_images_and_on_their_features(prepared, tmp_path, capsys):
    spec = f"{CONFIG}:path={prepared},steps=3,{SMALL}"
    train.main(["--config", spec, "--workdir", str(tmp_path / "W"), "--quiet"])
    captured = capsys.readouterr()
    assert "never fills a batch" in captured.err or "steps an epoch" in captured.err
    rows = rows_of(tmp_path / "W", "single_turn")
    assert len(rows) == 3 and all(np.isfinite(row["loss"]) for row in rows)
    assert all(0 <= row["data_wait"] <= 1 for row in rows[1:])
    cache = tmp_path / "features"
    run("--cache", cache, "--config", spec, "--dtype", "float16")
    assert "features of 12 sessions" in capsys.readouterr().out
    train.main(
        ["--config", f"{spec},cache={cache}", "--workdir", str(tmp_path / "V"),
         "--quiet"]
    )  # fmt: skip
    cached = rows_of(tmp_path / "V", "single_turn")
    for a, b in zip(rows, cached, strict=True):  # the same batches, rounded
        assert abs(a["loss"] - b["loss"]) < 0.01 * abs(a["loss"])


def test_a_report_is_printed_and_packing_goes_back(prepared, tmp_path, capsys):
    raw = prepared.parent / "raw"
    run("--source", raw, "--out", tmp_path / "again", "--languages", "en,zh")
    said = capsys.readouterr().out
    assert "sessions kept: 12" in said and "bad gap: missing image" in said
    run("--pack", tmp_path / "shards", "--source", raw, "--languages", "en,zh")
    assert "1 shards in" in capsys.readouterr().out
    assert len(list_parts(tmp_path / "shards" / "sessions.json")) == 1
    run(
        "--source", tmp_path / "shards" / "sessions.json", "--out",
        tmp_path / "packed", "--languages", "en,zh",
    )  # fmt: skip
    ours, packed = map(PreparedSessions, (prepared, tmp_path / "packed"))
    by_key = [{s[i].key: s[i] for i in range(len(s))} for s in (ours, packed)]
    assert by_key[0] == by_key[1]


def test_mistakes_are_one_line(prepared, tmp_path, capsys):
    main = prepare_data.main
    for arguments, message in (
        ([], "expected --source and --out"),
        (["--source", tmp_path / "gone", "--out", tmp_path / "o"], "gone"),
        (["--cache", tmp_path / "c"], "--cache needs --config"),
        (
            ["--cache", tmp_path / "c", "--config", "configs/sprites.py"],
            "has data.kind 'sprites'",
        ),
        (
            ["--cache", tmp_path / "c", "--config", f"{CONFIG}:path={prepared}",
             "--process", "4/4"],
            "expected such as 0/4",
        ),
        (["--pack", tmp_path / "p"], "--pack needs --source"),
    ):  # fmt: skip
        assert message in fails(capsys, main, *arguments)
    assert not (tmp_path / "c").exists() and not (tmp_path / "o").exists()
    said = fails(capsys, train.main, "--config", CONFIG, "--workdir", tmp_path / "W")
    assert "configs/sessions.py needs path=" in said


def test_every_stage_has_a_configuration(prepared):
    for stage in (
        "single_turn", "causal_forcing", "consistency", "distribution_matching"
    ):  # fmt: skip
        loaded = load_config(f"{CONFIG}:path={prepared},stage={stage}")
        assert loaded.data.kind == "sessions" and loaded.data.size == 64
        assert loaded.data.turns == (1 if stage == "single_turn" else 4)
