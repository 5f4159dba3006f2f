"""Measures while a run trains: that they say the truth, and change nothing."""

import jax
import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.config import load_config
from anchoredit_jax.data.held_out_sessions import of_sprites
from anchoredit_jax.encoders import make_codec, make_text_encoder
from anchoredit_jax.parallel import make_mesh, state_shardings
from anchoredit_jax.training.held_out import open_held_out, trains_pairs
from anchoredit_jax.training.held_out_scores import draw_edits, score_edits
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.metrics_log import read_metrics
from anchoredit_jax.trees import digest
from tests.training.real_stages import real_spec


def config_of(stage="single_turn", measured="", steps=6):
    """As the other tests' smallest run; measured at its steps 0, 3 and 6."""
    spec = real_spec(stage, steps).replace(OFF, measured)
    return load_config(spec)


OFF = "eval.every=0,eval.edits_every=0"
MEASURED = "eval.every=3,eval.edits_every=6,eval.sessions=3,eval.edits=2,eval.turns=2"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the same six steps, one of them measured."""
    root = tmp_path_factory.mktemp("runs")
    for name, measured in (("with", MEASURED), ("without", OFF)):
        run_stage(config_of(measured=measured), root / name, quiet=True)
    return root


def digest_of(workdir, step=6):
    return digest(manager.read_item(workdir / f"single_turn/checkpoints/{step}", "ema"))


def held_out_rows(folder):
    rows = read_metrics(folder / "metrics.jsonl")
    return [row for row in rows if "held_out/ema/loss" in row]


def test_a_measured_run_has_the_same_bits(runs):
    assert digest_of(runs / "with") == digest_of(runs / "without")
    assert not (runs / "without/single_turn/samples").exists()
    assert not held_out_rows(runs / "without/single_turn")


def test_rows_and_sheets_stand_where_they_were_asked_for(runs):
    folder = runs / "with/single_turn"
    rows = held_out_rows(folder)
    assert [row["step"] for row in rows] == [0, 3, 6]
    assert [row["step"] for row in rows if "edited/success" in row] == [0, 6]
    names = sorted(path.name for path in (folder / "samples").iterdir())
    assert names == ["00000000.png", "00000006.png"]
    for weights in ("ema", "params"):
        levels = [
            value
            for name, value in rows[0].items()
            if name.startswith(f"held_out/{weights}/noise/")
        ]
        loss = rows[0][f"held_out/{weights}/loss"]
        assert len(levels) == 4 and np.mean(levels) == pytest.approx(loss)
    assert rows[0]["held_out/ema/loss"] == rows[0]["held_out/params/loss"]
    assert rows[2]["held_out/ema/loss"] != rows[2]["held_out/params/loss"]
    assert {"edited/identity_drift/1", "edited/subject_psnr/2"} <= rows[0].keys()


def test_a_resumed_run_measures_every_step_once(runs, tmp_path):
    run_stage(config_of(measured=MEASURED, steps=3), tmp_path, quiet=True)
    run_stage(config_of(measured=MEASURED), tmp_path, quiet=True)
    ours, theirs = (
        {row["step"]: row["held_out/ema/loss"] for row in held_out_rows(folder)}
        for folder in (tmp_path / "single_turn", runs / "with/single_turn")
    )
    assert ours == theirs  # a shorter stage was measured after its last step, 3, too


def test_a_mesh_measures_the_same(runs):
    run = config_of(measured=MEASURED)
    step_dir = runs / "with/single_turn/checkpoints/6"
    params = {name: manager.read_item(step_dir, name) for name in ("ema", "params")}
    rows = []
    for mesh in ("", ",mesh.fsdp=2"):
        run = config_of(measured=MEASURED + mesh)
        made = make_mesh(run.mesh)
        codec, text = make_codec(run.codec), make_text_encoder(run.text)
        held_out = open_held_out(run, codec, text, made)
        placed = {
            n: jax.device_put(p, state_shardings(p, made)) for n, p in params.items()
        }
        rows.append(held_out.measure(6, _State(**placed))[0])
    assert rows[1] == pytest.approx(rows[0], rel=1e-3, abs=1e-3)


class _State:
    def __init__(self, ema, params):
        self.ema, self.params = ema, params


def test_its_share_of_the_work_is_told(runs, capfd, tmp_path):
    run_stage(config_of(measured=MEASURED, steps=1), tmp_path, quiet=True)
    told = capfd.readouterr().err
    assert "held out: the loss on 3 sessions every 3 steps, 2 sessions edited over" in (
        told
    )
    assert "% of all operations" in told and "compiled and measured in" in told


def test_right_edits_score_as_such():
    run = config_of(measured=MEASURED)
    codec, text = make_codec(run.codec), make_text_encoder(run.text)
    sessions = of_sprites(run.data, codec, text, 1, 3, 4)
    truths = np.stack([session.read_images() for session in sessions])
    kept = np.repeat(truths[:, :1], 4, axis=1)
    right = score_edits(sessions, truths[:, 1:], kept)
    assert right["edited/success"] == 1.0
    assert [right[f"edited/identity_drift/{k}"] for k in range(1, 5)] == [0.0] * 4
    assert right["edited/colour/4"] == 0.0 and right["edited/sharpness/4"] == 1.0
    worse = score_edits(sessions, kept, truths[:, 1:])
    assert worse["edited/success"] < 0.7
    assert worse["edited/identity_drift/4"] > 0 < right["edited/psnr/4"]
    sheet = draw_edits(sessions, truths[:, 1:])
    assert isinstance(sheet, Image.Image) and sheet.width > 5 * 96


def test_a_star_of_edits_is_measured_as_pairs():
    assert trains_pairs(config_of())
    assert not trains_pairs(config_of("causal_forcing"))


def test_data_without_held_out_sessions_is_told_not_refused(monkeypatch, capsys):
    from anchoredit_jax.data import kinds

    run = config_of(measured=MEASURED)
    none = kinds.Kind(*[getattr(kinds.KINDS["sprites"], n) for n in ("source",)], None)
    monkeypatch.setitem(kinds.KINDS, "sprites", none)
    codec, text = make_codec(run.codec), make_text_encoder(run.text)
    assert open_held_out(run, codec, text, make_mesh()) is None
    assert "no session is held out" in capsys.readouterr().err


def test_metrics_tell_learning_rate_noise_levels_and_turns(runs):
    rows = read_metrics(runs / "with/single_turn/metrics.jsonl")
    (row,) = [row for row in rows if row["step"] == 6 and "loss" in row]
    assert {"learning_rate", "timestep", "turn/1", "turn/2"} <= row.keys()
    assert 0 < row["timestep"] <= 1000
    assert any(name.startswith("noise/") for name in row)
    assert jax.device_count() >= 2  # what the mesh above needs
