"""The rehearsal: its plan in seconds, and all of it in minutes."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from anchoredit_jax.config import load_config
from anchoredit_jax.data.session_buckets import bucket_table
from anchoredit_jax.session.shapes import editing_size
from configs.rehearsal import STAGES
from launch import rehearsal
from launch.rehearsal_summary import ALL
from tests.launch.test_train import fails

ROOT = Path(__file__).parents[2]
SHAPES = {
    (64, 64): (32, 32),
    (56, 75): (28, 36),
    (75, 56): (36, 28),
    (48, 85): (24, 40),
}


@pytest.mark.parametrize("recipe", ["ours", "former"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_configuration(stage, recipe):
    run = load_config(
        f"{rehearsal.CONFIG}:stage={stage},recipe={recipe},path=P,cache=F"
    )
    wan = load_config(f"configs/wan_14b.py:stage={stage}")
    sessions = run.data.sessions
    first = {"single_turn": "/1"}.get(stage, "/5") if recipe == "former" else ""
    assert (sessions.path, sessions.cache) == ("P" + first, "F" + first)
    assert (run.data.kind, run.data.turns) == ("sessions", wan.data.turns)
    assert sessions.layout == wan.data.sessions.layout
    assert run.memory == wan.memory and run.model.num_layers == 4
    if recipe == "ours":
        # Of the sampler, all but what the next test is about.
        own = dict(steps=run.sampler.steps, guidance=run.sampler.guidance)
        assert run.sampler == dataclasses.replace(wan.sampler, **own)
        assert run.data.null_fraction == wan.data.null_fraction
        assert getattr(run.options, "memory_policies", None) == getattr(
            wan.options, "memory_policies", None
        )
        if stage in ("single_turn", "causal_forcing"):
            assert run.options.timesteps == wan.options.timesteps
    else:
        assert run.data.null_fraction == 0
        assert not getattr(run.options, "memory_policies", ())


def test_a_configuration_needs_data(capsys):
    from launch import train

    said = fails(capsys, train.main, "--config", rehearsal.CONFIG, "--workdir", "W")
    assert "needs path=" in said


def test_files_of_all_shapes_are_trained_and_evaluated_at_four_sizes():
    run = load_config(f"{rehearsal.CONFIG}:path=P")
    assert len(bucket_table(32, 4, run.data.sessions.buckets)) > 4
    written = {editing_size(run, shape) for shape in rehearsal.file_shapes()}
    assert {shape: editing_size(run, shape) for shape in rehearsal.HELD_OUT} == SHAPES
    assert written == set(SHAPES.values())
    for height, width in rehearsal.HELD_OUT:
        size = editing_size(run, (height, width))
        kept = min(height / size[0], width / size[1]) ** 2 * size[0] * size[1]
        assert kept / (height * width) > 0.93


@pytest.mark.parametrize("stage", STAGES)
def test_sampling_and_guidance_are_those_of_so_small_a_network(stage):
    toy = load_config(f"configs/sprites.py:stage={stage}")
    for recipe in ("ours", "former"):
        run = load_config(f"{rehearsal.CONFIG}:path=P,stage={stage},recipe={recipe}")
        assert run.sampler.steps == toy.sampler.steps
        assert run.sampler.guidance == toy.sampler.guidance
        if hasattr(toy.options, "guidance"):
            assert run.options.guidance == toy.options.guidance


def test_a_folder_of_other_settings_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rehearsal, "make_data", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rehearsal.main(["--out", str(tmp_path), "--short"])
    said = fails(capsys, rehearsal.main, "--out", tmp_path)
    assert "was begun with" in said and "give another --out" in said
    (tmp_path / "file").write_text("")
    assert "is a file" in fails(capsys, rehearsal.main, "--out", tmp_path / "file")


@pytest.mark.long
def test_all_of_it_runs_and_the_loss_falls(tmp_path):
    """launch/rehearsal.sh --short: all shapes, and the same command once more."""
    out = tmp_path / "R"
    command = ["bash", str(ROOT / "launch" / "rehearsal.sh"), "--out", str(out)]
    subprocess.run([*command, "--short"], check=True, cwd=tmp_path)
    check_rehearsal(out, SHAPES)
    again = subprocess.run(
        [*command, "--short"], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    check_repeated(out, again.stdout)


@pytest.mark.slow
def test_two_of_its_shapes_go_the_whole_path(tmp_path, capsys, monkeypatch):
    """Every shape is compiled in every stage: two take half of the time of four."""
    shapes = {shape: SHAPES[shape] for shape in ((64, 64), (48, 85))}
    monkeypatch.setattr(rehearsal, "ASPECTS", ((1, 1), (9, 16)))
    monkeypatch.setattr(rehearsal, "HELD_OUT", tuple(shapes))
    out = tmp_path / "R"
    rehearsal.main(["--out", str(out), "--short"])
    check_rehearsal(out, shapes)
    capsys.readouterr()
    rehearsal.main(["--out", str(out), "--short"])
    check_repeated(out, capsys.readouterr().out)


def check_rehearsal(out, shapes):
    """Files, preparation, features, four stages, editing, evaluation, by shape; takes
    away two of its last results."""
    for stage in STAGES:
        text = (out / "ours" / "training" / stage / "metrics.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        if stage == "single_turn":  # the only one that starts from nothing
            assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    for (height, width), (rows, columns) in shapes.items():
        folder = out / "ours" / "edits" / f"{height}x{width}"
        with Image.open(folder / "turn_12.png") as turn:
            # What is kept of the picture, at its own resolution: twice the model's.
            assert turn.size == (2 * columns, 2 * rows)
        with Image.open(folder / "model_size" / "turn_12.png") as turn:
            assert turn.size == (columns, rows)
    summary = json.loads((out / "summary.json").read_text())["ours"]
    assert set(summary) == {"sink1_window3", "window3"}
    names = [ALL, *(f"{height}x{width}" for height, width in shapes)]
    for policy in summary.values():
        assert list(policy) == names
        assert sum(policy[name]["sessions"] for name in names[1:]) == 16
    assert "| 48x85 |" in (out / "summary.md").read_text()
    assert summary["sink1_window3"][ALL]["subject_psnr"]["1"] is not None
    (out / "summary.md").unlink()
    shutil.rmtree(out / "ours" / "edits" / "48x85")


def check_repeated(out, said):
    """The same command finds all of it done; without the last files it makes these."""
    assert said.count("(finished before)") == 4
    assert (out / "summary.md").exists() and (out / "ours/edits/48x85").exists()
