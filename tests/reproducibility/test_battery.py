"""The standard trials: what they ask for, and how they are judged."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import anchoredit_jax
from anchoredit_jax.config import load_config
from anchoredit_jax.errors import UserError
from anchoredit_jax.reproducibility import battery, read, table
from anchoredit_jax.reproducibility.battery import Trial, judge, trials
from tests.reproducibility.certified import certify
from tests.training.fake_stages import make_run

ROOT = Path(__file__).resolve().parents[2]
# A configuration that imports the package alone, and what runs a leg of it.
ALONE = """
from ml_collections import ConfigDict
from anchoredit_jax.config import override, parse_arg
from anchoredit_jax.testing import tiny_run


def get_config(arg=None):
    run = tiny_run(
        "single_turn",
        model=dict(num_layers=1, channels=16),
        text=dict(length=16, dim=8),
        data=dict(size=16, turns=1, batch=2),
        loop=dict(steps=1),
    )
    return override(ConfigDict(run.to_dict()), parse_arg(arg, {})[1])
"""
RUN_LEG = """
from pathlib import Path
import anchoredit_jax
from anchoredit_jax.reproducibility.legs import Leg, run_leg

print(anchoredit_jax.__file__)
run_leg("alone.py:data.seed=1", Path("work"), Leg())
"""


@pytest.mark.usefixtures("fake_stages")
def test_trials_are_judged_by_what_was_expected(tmp_path):
    folders = {}
    for name, arg in (
        ("a", ""),
        ("same", ""),
        ("near", "optimizer.learning_rate=0.0100001"),
        ("far", "optimizer.learning_rate=0.1"),
        ("data", "data.null_fraction=0.06"),
    ):
        certify(tmp_path / name, arg)
        folders[name] = tmp_path / name / "fake_first"

    def judged(other, bits):
        return judge(Trial("t", bits=bits, why="w"), folders["a"], folders[other])

    same = judged("same", bits=True)
    assert same.passed and same.result == "bit-equal, 10 steps"
    assert judged("same", bits=False).passed
    near = judged("near", bits=False)
    # At which step it shows first, and so in which metric, is up to the processor.
    assert near.passed and ": loss (" in near.result
    assert not judged("near", bits=True).passed
    assert not judged("far", bits=False).passed
    lines = table([same, judged("far", bits=False)]).splitlines()
    assert lines[2] == "| t | bit-equal, 10 steps | w | yes |"
    assert lines[3].endswith("| w | NO |")


@pytest.mark.usefixtures("fake_stages")
def test_other_data_are_within_no_tolerance(tmp_path):
    for name, arg in (("a", ""), ("b", "data.seed=1,optimizer.learning_rate=1e-30")):
        certify(tmp_path / name, arg)
    outcome = judge(
        Trial("t", bits=False), tmp_path / "a/fake_first", tmp_path / "b/fake_first"
    )
    assert not outcome.passed and "data (data)" in outcome.result


@pytest.mark.usefixtures("fake_stages")
def test_every_trial_is_held_against_an_earlier_one():
    made = trials(make_run("fake_first", "loop.steps=12,data.batch=4"))
    names = [trial.name for trial in made]
    assert len(set(names)) == len(names) == 7
    for place, trial in enumerate(made):
        assert trial.against is None or trial.against in names[:place]
        assert place == 0 or trial.why
        assert trial.legs[-1].last is None
    stops = [leg.last for leg in made[2].legs]
    assert stops == [3, 5, 9, None]
    assert max(leg.processes for trial in made for leg in trial.legs) == 2


def test_a_run_that_fails_is_named():
    with pytest.raises(UserError, match="failed: error: config: data.size 18"):
        battery.run_battery(
            "configs/reproduce.py:data.size=18", only="same again", quiet=True
        )


def test_a_leg_needs_the_package_alone(tmp_path):
    """As in an installed wheel: there is no launch/ beside the package, nor here."""
    package = Path(anchoredit_jax.__file__).parent
    site = tmp_path / "site"
    ignored = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(package, site / package.name, ignore=ignored)
    here = tmp_path / "here"
    here.mkdir()
    (here / "alone.py").write_text(ALONE)
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN_LEG],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert [row.step for row in read(here / "work" / "single_turn").rows] == [1]


@pytest.mark.long
def test_the_toy_passes():
    outcomes = battery.run_battery("configs/reproduce.py", quiet=True)
    assert all(outcome.passed for outcome in outcomes), table(outcomes)
    exact = [o.trial for o in outcomes if o.result.startswith("bit-equal")]
    assert len(exact) >= 4, table(outcomes)


def test_the_page_shows_the_trials():
    """Its table was printed by the command: the same trials, all as expected."""
    shown = (ROOT / "docs" / "reproduce.md").read_text()
    run = load_config(str(ROOT / "configs" / "reproduce.py"))
    for trial in trials(run):
        if trial.against is not None:
            (line,) = [x for x in shown.splitlines() if x.startswith(f"| {trial.name}")]
            assert trial.why in line and line.endswith("| yes |")
            assert ("bit-equal" in line) == trial.bits
