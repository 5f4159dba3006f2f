"""launch/reproduce.py: what it prints, and its exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch import reproduce
from tests.reproducibility.certified import certify

ROOT = Path(__file__).resolve().parents[2]
FAKE = """
from ml_collections import ConfigDict
from anchoredit_jax.config import override, parse_arg
from tests.training.fake_stages import make_run


def get_config(arg=None):
    given, dotted = parse_arg(arg, dict(stage="fake_first", seed=3))
    config = ConfigDict(make_run(given["stage"]).to_dict())
    config.seed = given["seed"]
    return override(config, dotted)
"""


@pytest.fixture
def config(tmp_path, fake_stages):
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


def call(*arguments):
    """The exit code."""
    try:
        reproduce.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def test_run_and_check(config, tmp_path, capsys):
    work = tmp_path / "w"
    common = ("--quiet", "--config")
    assert call("run", "--workdir", work, "--every", 2, *common, config) == 0
    path = work / "fake_first" / "certificate.json"
    assert capsys.readouterr().out == f"fake_first: step 10; {path}\n"
    against = ("--against", path)
    assert call("check", *against, *common, config) == 0
    said = capsys.readouterr().out
    assert said.startswith("bit-equal: 5 steps, 6 arrays of the state at step 4, 8, 10")
    seeded = f"{config}:seed=4"
    kept = tmp_path / "kept"
    assert call("check", *against, "--workdir", kept, *common, seeded) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "config: seed: 3 | 4"
    assert lines[1].startswith("differs first at step 2: draws (draws)")
    assert call("compare", path, kept / "fake_first") == 1
    assert capsys.readouterr().out.splitlines()[:2] == lines[:2]
    assert call("check", *against, "--steps", "4:6", *common, config) == 0
    assert "bit-equal: 1 steps" in capsys.readouterr().out


def test_wrong_input_is_one_line(config, tmp_path, capsys):
    certify(tmp_path / "a")
    there = ("--against", tmp_path / "a" / "fake_first")
    for arguments, said in (
        ((), "required: COMMAND"),
        (("prove",), "invalid choice: 'prove'"),
        (("check", "--config", config), "required: --against"),
        (("check", "--config", config, "--against", tmp_path), "no certificate"),
        (("check", "--config", config, *there, "--steps", "x"), "FIRST:LAST"),
        (("run", "--config", config, "--workdir", tmp_path, "--every", 0), "--every"),
        (("compare", tmp_path / "a"), "required: CERTIFICATE"),
        (("matrix", "--only", "luck"), "no trial is named 'luck'"),
        (("matrix", "--config", f"{config}:stage=fake_second"), "fake_second starts"),
        (("sessions", "--checkpoint", tmp_path / "none"), "does not exist"),
    ):
        assert call(*arguments) == 2, arguments
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
        assert said in captured.err, captured.err


@pytest.mark.long
def test_another_flag_of_the_compiler_is_named(tmp_path):
    """The environment first, then whatever differs."""
    common = ["--quiet", "--config", "configs/reproduce.py:steps=4,model.num_layers=1"]

    def script(*arguments, flags=""):
        kept = [
            flag
            for flag in os.environ["XLA_FLAGS"].split()
            if "optimization_level" not in flag
        ]
        done = subprocess.run(
            [sys.executable, "launch/reproduce.py", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": " ".join([*kept, *flags.split()])},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    code, _, errors = script("run", "--workdir", tmp_path, *common)
    assert code == 0, errors
    against = ("--against", tmp_path / "single_turn")
    flag = "--xla_cpu_enable_fast_math=true"
    code, said, errors = script("check", *against, *common, flags=flag)
    assert code == 1, (said, errors)
    lines = said.splitlines()
    assert lines[0].startswith("environment: XLA_FLAGS:") and flag in lines[0]
    assert lines[1].startswith("differs first at step 1: loss"), said
    assert "absolute" in said and "ulp" in said
