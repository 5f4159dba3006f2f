"""The evaluation script: a report, or one line of error and nothing."""

import json
import runpy
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.checkpoint import Lineage, digest, save_bundle
from anchoredit_jax.config import run_from_dict
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.flags import (
    check_judged,
    make_contestant,
    make_judge,
    make_settings,
    parse_mesh,
    parse_shapes,
    split_checkpoint,
)
from anchoredit_jax.evaluation.judge import JudgeConfig
from anchoredit_jax.models.transformer import Transformer
from tests.evaluation.judge.conftest import FakeJudge

SCRIPT = Path(__file__).parents[2] / "launch" / "evaluate.py"
CONFIG = {
    "stage": "single_turn",
    "model": {
        "dim": 32,
        "ffn_dim": 32,
        "num_heads": 2,
        "num_layers": 2,
        "channels": 16,
        "text_dim": 8,
        "freq_dim": 8,
    },
    "text": {"dim": 8},
    "data": {"size": 16},
    "memory": {"sink": 1, "window": 1},
    "sampler": {"steps": 2, "shift": 3.0},
}
SMALL = (
    "--sessions 2 --turns 2 --story-sessions 2 --batch 2 --ambiguous-sessions 2 "
    "--identity-sessions 2 --mesh data=1"
).split()


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    run = run_from_dict(CONFIG)
    shapes = [jnp.zeros(shape) for shape in ((1, 2, 8, 8, 16), (1, 2), (1, 1, 16, 8))]
    tree = jax.eval_shape(Transformer(run.model).init, jax.random.key(0), *shapes)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), tree["params"]
    )
    lineage = Lineage("single_turn", 3, digest(params), run.to_dict())
    folder = tmp_path_factory.mktemp("weights")
    return save_bundle(folder / "toy.safetensors", params, run, lineage)


def test_a_report(script, checkpoint, tmp_path, capsys):
    out = tmp_path / "report"
    flags = ["--checkpoint", f"toy={checkpoint}@few_step:2", "--out", str(out)]
    script["main"]([*flags, *SMALL, "--policies", "sink1_window1"])
    report = json.loads((out / "report.json").read_text())
    (toy,) = report["contestants"]
    assert toy["label"] == "toy" and toy["sampler"] == "few_step:2"
    assert toy["lineage"][0]["stage"] == "single_turn"
    assert set(report["table"]["toy"]) == {"sink1_window1"}
    assert (out / "report.html").exists() and (out / "figures" / "story.png").exists()
    printed = capsys.readouterr().out
    for part in (
        "sink 1 + window 1",
        "edit success by kind",
        "subject PSNR, turn",
        "cover, other edits",
        "identity loop",
        "codec alone",
        "report.html",
    ):
        assert part in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--checkpoint", "nowhere/at/all"], "nowhere/at/all"),
        (["--checkpoint", "{toy}", "--sessions", "0"], "sessions must be 1 or more"),
        (["--checkpoint", "{toy}", "--sessions", "many"], "invalid int value"),
        (["--checkpoint", "{toy}", "--policies", "sink"], "unknown memory policy"),
        (["--checkpoint", "{toy}", "--sampler", "ddim:3"], "known kinds"),
        (["--checkpoint", "{toy}@euler:0"], "number of steps"),
        (["--checkpoint", "{toy}", "--ambiguous-sampler", "x"], "known kinds"),
        (["--checkpoint", "{toy}", "--parts", "all"], "parts must be some of"),
        (["--checkpoint", "{toy}", "--checkpoint", "{toy}"], "share a name"),
        (["--checkpoint", "a b={toy}"], "write [NAME=]PATH[@SAMPLER]"),
        (["--checkpoint", "{toy}", "--turn", "3"], "unrecognized arguments"),
        (["--checkpoint", "{toy}", "--mesh", "data"], "write AXIS=SIZE"),
        (["--checkpoint", "{toy}", "--shapes", "32"], "write HEIGHTxWIDTH"),
        (["--checkpoint", "{toy}", "--shapes", "24x8"], "at least 16 px"),
        (["--shapes", "24x40", "--dataset", "x"], "shapes must be none"),
        (["--checkpoint", "{toy}", "--mesh", "data=999"], "does not fit"),
        (["--checkpoint", "{toy}", "--dataset", "nowhere"], "nowhere"),
        (["--checkpoint", "{toy}", "--extractor", "nowhere"], "nowhere"),
        (["--checkpoint", "{toy}", "--judge", "m", "--judge-url", "x"], "base_url"),
        (["--judge", "m", "--judge-tokens", "0"], "max_tokens (--judge-tokens) must"),
        (["--judge", "m", "--judge-seed", "x"], "invalid int or none value"),
    ],
)
def test_wrong_input(script, checkpoint, tmp_path, capsys, flags, message):
    out = tmp_path / "report"
    flags = [flag.replace("{toy}", str(checkpoint)) for flag in flags]
    with pytest.raises(SystemExit) as caught:
        script["main"]([*flags, "--out", str(out)])
    assert caught.value.code == 2
    printed, error = capsys.readouterr()
    assert printed == "" and error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert not out.exists()


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FakeJudge() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_dataset_with_a_judge_is_paid_for_once(
    script, checkpoint, tmp_path, endpoint
):
    """From photographs to SR@k; the second run edits and asks nothing anew."""
    photos, bench, out = tmp_path / "photos", tmp_path / "bench", tmp_path / "report"
    photos.mkdir()
    for seed, name in enumerate(("cat", "dog")):
        pixels = np.random.default_rng(seed).integers(0, 256, (80, 96, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(photos / f"{name}.png")
        (photos / f"{name}.txt").write_text("[local] add a hat\n[undo] undo that\n")
    build = runpy.run_path(str(SCRIPT.parent / "build_benchmark.py"))
    build["main"](
        ["--images", str(photos), "--out", str(bench), "--min-side", "64",
         "--turns", "2:20"]
    )  # fmt: skip
    flags = [
        "--checkpoint", f"toy={checkpoint}", "--dataset", str(bench), "--out", str(out),
        "--policies", "sink1_window1", "--parts", "table", "--mesh", "data=1",
        "--judge", "a-vlm", "--judge-url", endpoint.url, "--judge-key", "",
    ]  # fmt: skip
    frames = out / "frames" / "toy" / "table" / "sink1_window1" / "cat.png"
    reports, made = [], []
    for _ in range(2):
        script["main"](flags)
        reports.append(json.loads((out / "report.json").read_text()))
        made.append(frames.stat().st_mtime_ns)
        assert len(endpoint.requests) == 1 + 4  # the first question
    assert made[0] == made[1]
    first, second = (r["table"]["toy"]["sink1_window1"]["per_turn"] for r in reports)
    assert first == second
    assert [turn["mean"] for turn in first["judge_success"]] == [1.0, 1.0]
    assert [turn["count"] for turn in first["return_psnr"]] == [0, 2]
    told = [r["judge"]["toy"]["sink1_window1"] for r in reports]
    assert [(t["asked"], t["reused"]) for t in told] == [(4, 0), (0, 4)]


def test_a_judge_without_a_key_fails_before_anything_is_loaded(
    script, tmp_path, capsys, monkeypatch
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SystemExit):
        script["main"](
            ["--judge", "m", "--out", str(tmp_path / "o"), "--checkpoint", "x"]
        )
    error = capsys.readouterr().err
    assert "set the environment variable OPENAI_API_KEY" in error
    assert "--judge-key" in error


def test_every_setting_of_the_judge_has_a_flag(script):
    flags = (
        "--judge m --judge-url http://x --judge-key= --judge-tokens none "
        "--judge-temperature none --judge-seed none --judge-tries 2 --judge-retries 1 "
        "--judge-timeout 3.5 --judge-image-side 99 --judge-parallel 7"
    )
    parsed = script["make_parser"]().parse_args([*flags.split(), "--out", "o"])
    assert make_judge(parsed) == JudgeConfig(
        "m", "http://x", "", 3.5, 1, 2, 7, 99, None, None, None
    )


def test_a_judge_that_scored_nothing_is_an_error():
    entry = {"asked": 2, "reused": 1, "unjudged": 3, "why": {"cut off: x": 3}}
    with pytest.raises(UserError, match=r"scored none of 3 turns \(cut off: x\)"):
        check_judged({"judge": {"toy": {"full": entry}}})
    check_judged({"judge": {"toy": {"full": {**entry, "unjudged": 2}}}})
    check_judged({"judge": {}})


def test_defaults_of_sprites_and_of_a_dataset(script):
    make, parse = make_settings, script["make_parser"]().parse_args
    sprites, own = parse(["--out", "x"]), parse(["--out", "x", "--dataset", "folder"])
    assert (make(sprites).sessions, make(sprites).turns) == (200, 12)
    assert "story" in make(sprites).parts
    assert (make(own).sessions, make(own).turns) == (None, None)
    assert make(own).parts == ("table", "identity", "codec")


def test_shapes_are_height_and_width():
    parse = parse_shapes
    assert parse("24x40, 40x24,24x40") == ((24, 40), (40, 24)) and parse(None) == ()


def test_all_devices_by_default():
    assert parse_mesh(None).data is None  # the tests' eight
    mesh = parse_mesh("data=2,tensor=4")
    assert (mesh.data, mesh.fsdp, mesh.tensor) == (2, 1, 4)


def test_samplers_of_a_checkpoint(script, checkpoint):
    flags = ["--out", "x", "--sampler", "euler:8"]
    flags += ["--ambiguous-sampler", "euler:4", "--ambiguous-sampler", "few_step:2"]
    args = script["make_parser"]().parse_args(flags)
    own = make_contestant(f"{checkpoint}@few_step:2", args)
    assert (own.sampler.kind, own.sampler.steps, own.sampler.shift) == (
        "few_step",
        2,
        3,
    )
    found = [(s.kind, s.steps) for s in own.ambiguous_samplers]
    assert found == [("few_step", 2), ("euler", 4)]
    other = make_contestant(str(checkpoint), args)
    assert (other.label, other.sampler.kind) == ("toy.safetensors", "euler")


def test_shift_and_negative_are_for_all_samplers_that_do_not_say(script, checkpoint):
    flags = ["--out", "x", "--shift", "2", "--negative", "blurry", "--mesh", "data=1"]
    flags += ["--ambiguous-sampler", "euler:4:guidance=2"]
    flags += ["--ambiguous-sampler", "euler:4:guidance=2:shift=5:negative=red"]
    args = script["make_parser"]().parse_args(flags)
    own = make_contestant(str(checkpoint), args)
    told = [(s.kind, s.shift, s.negative) for s in own.ambiguous_samplers]
    assert told == [
        ("few_step", 2.0, ""), ("euler", 2.0, "blurry"), ("euler", 5.0, "red")
    ]  # fmt: skip
    args = script["make_parser"]().parse_args(flags[:-4])
    with pytest.raises(UserError, match="give guidance too"):
        make_contestant(str(checkpoint), args)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("W/causal_forcing", ("causal_forcing", "W/causal_forcing", None)),
        (
            "W/consistency/checkpoints/500",
            ("consistency", "W/consistency/checkpoints/500", None),
        ),
        ("a=b/model.safetensors", ("a", "b/model.safetensors", None)),
        ("W/dmd@few_step:4", ("dmd", "W/dmd", "few_step:4")),
        (
            "t=W@home/x@euler:20:guidance=1.5",
            ("t", "W@home/x", "euler:20:guidance=1.5"),
        ),
        ("runs/lr=1/dmd", ("dmd", "runs/lr=1/dmd", None)),
        (
            "W@euler:8:guidance=2:negative=me@home",
            ("W", "W", "euler:8:guidance=2:negative=me@home"),
        ),
        (".", ("toy", ".", None)),
    ],
)
def test_checkpoint_flags(text, expected):
    assert split_checkpoint(text) == expected
