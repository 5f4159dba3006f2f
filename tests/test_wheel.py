"""An installed wheel, away from the clone, edits, trains, evaluates and converts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("anchoredit_jax", "setup.py", "pyproject.toml", "README.md", "LICENSE")
USES = """
import dataclasses, sys
from pathlib import Path
import anchoredit_jax
from anchoredit_jax import load_editor
from anchoredit_jax.config import run_from_dict
from anchoredit_jax.convert import export_weights, import_weights, open_weights
from anchoredit_jax.evaluation import Contestant, Settings, evaluate, parse_policies
from anchoredit_jax.training.loop import run_stage

assert Path(anchoredit_jax.__file__).is_relative_to(sys.argv[1])
editor = load_editor()
few = dataclasses.replace(editor.sampler, steps=1, timesteps=None)
editor = editor.with_settings(sampler=few)
sample = Path(anchoredit_jax.__file__).parent / "assets" / "sample.png"
assert editor.start(sample).edit("make the background blue").size

model = dict(dim=24, ffn_dim=24, num_heads=2, num_layers=1, channels=16, text_dim=8)
run = run_from_dict(dict(
    stage="single_turn", model=dict(model, freq_dim=8), text=dict(dim=8),
    data=dict(size=16, batch=2), loop=dict(steps=2), options=dict(from_scratch=True),
))
done = run_stage(run, "W", quiet=True)
assert done.step == 2

toy = Contestant("toy", "shipped", editor, few)
settings = Settings(parse_policies("sink1_window3"), ("table",), sessions=2, turns=1)
assert evaluate([toy], settings, Path("report"))["table"]["toy"]

theirs = export_weights({"ema": open_weights(done.checkpoint)}, "diffusers", "theirs")
ours = import_weights(open_weights(theirs), "ours")
assert ours.is_file()
"""


@pytest.mark.slow
def test_it_works_away_from_the_clone(tmp_path):
    source, site, away = (tmp_path / name for name in ("source", "site", "away"))
    for folder in (source, away):
        folder.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", site, source], check=True, cwd=away
    )
    assert not (site / "benchmarks").exists() and not (site / "launch").exists()
    assert (site / "anchoredit_jax" / "py.typed").is_file()
    done = subprocess.run(
        [sys.executable, "-c", USES, site],
        cwd=away,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
