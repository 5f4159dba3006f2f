"""An installed wheel, away from the clone: its command, and its Python as told."""

import importlib.util
import inspect
import os
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

from anchoredit_jax.evaluation import evaluate
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("anchoredit_jax", "benchmarks", "configs", "launch", "setup.py",
         "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")  # fmt: skip
QUICK = "configs/sprites.py:stage=single_turn,preset=quick,steps=5"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A virtualenv with nothing but the wheel; what that needs is borrowed."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    made = ("wheel", "--no-deps", "--wheel-dir", folder, source)
    subprocess.run([*pip, *made], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", environment], check=True
    )
    python = environment / "bin" / "python"
    put = ("install", "--no-deps", "--no-index", wheel)
    subprocess.run([*pip, "--python", python, *put], check=True, cwd=folder)
    (site,) = environment.glob("lib/python*/site-packages")
    needed = {Path(importlib.util.find_spec(name).origin).parents[1]
              for name in ("jax", "numpy", "PIL")}  # fmt: skip
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in needed))
    return environment / "bin", site


@pytest.fixture
def away(tmp_path):
    """A folder with a project's own modules that have the names of ours."""
    folder = tmp_path / "away"
    for name in ("configs", "launch", "benchmarks"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    return folder


@pytest.fixture
def environment(tmp_path_factory):
    programs = tmp_path_factory.getbasetemp() / "programs"
    given = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {
        **given,
        "JAX_COMPILATION_CACHE_DIR": str(programs),  # the same programs, seven times
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.fixture
def command(installed, away, environment):
    """Runs `anchoredit` with flags in the folder away; what it said."""

    def run(*flags, code: int = 0) -> str:
        done = subprocess.run(
            [installed[0] / "anchoredit", *map(str, flags)],
            cwd=away, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_nothing_of_it_lies_beside_other_packages(installed, command):
    site = installed[1]
    ours = {path.name for path in site.iterdir() if path.name != "borrowed.pth"}
    assert {name.partition("-")[0] for name in ours} == {"anchoredit_jax"}
    assert (site / "anchoredit_jax" / "py.typed").is_file()
    assert not [*site.glob("anchoredit_jax/beside/**/*.sh")]
    assert command("--version") == f"anchoredit_jax {__version__}\n"
    # A report's usual place is in a clone: nothing is written into the package.
    assert "give --out" in command("plan", "--all", code=2)


@pytest.mark.slow
def test_the_command_edits_trains_evaluates_and_converts(installed, away, command):
    sample = installed[1] / "anchoredit_jax" / "assets" / "sample.png"
    edit = ("--instruction", "make the background blue", "--out", "result")
    command("edit", "--image", sample, *edit)
    assert (away / "result" / "turn_01.png").is_file()

    said = command("train", "--config", QUICK, "--workdir", "W", "--quiet")
    assert f"{installed[1]}/anchoredit_jax/beside/configs/sprites.py" in said
    assert (away / "W" / "single_turn" / "checkpoints" / "5").is_dir()

    few = ("--sessions", 3, "--turns", 2, "--parts", "table")
    few = (*few, "--policies", "sink1_window3", "--sampler", "few_step:1")
    command("evaluate", "--checkpoint", "W", "--out", "report", *few)
    assert (away / "report" / "report.html").is_file()

    wanted = ("--dialect", "diffusers", "--allow-loss", "--out", "theirs")
    command("convert", "export", "--checkpoint", "W", *wanted)
    command("convert", "verify", "W", "theirs")


@pytest.mark.slow
def test_the_page_starts(installed, away, environment):
    pytest.importorskip("gradio")
    with subprocess.Popen(
        [installed[0] / "anchoredit", "app"], cwd=away, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as app:  # fmt: skip
        late = threading.Timer(300, app.kill)
        late.start()
        said = ""
        try:
            while "http://127.0.0.1:" not in said:
                line = app.stdout.readline()
                assert line, said
                said += line
        finally:
            late.cancel()
            app.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("function", [run_stage, evaluate])
def test_the_examples_of_the_documentation_run(function, installed, away, environment):
    text = inspect.getdoc(function)
    (example,) = re.findall(r"Example:\n((?:    .*\n|\n)+)", text)
    done = subprocess.run(
        [installed[0] / "python", "-c", textwrap.dedent(example)],
        cwd=away, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    last = done.stdout.splitlines()[-1]
    assert last.startswith({run_stage: "5 ", evaluate: "dict_keys"}[function])


def test_no_package_is_asked_for_twice(monkeypatch):
    """Two lines on one package would let the one hide what the other asks for."""
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **values: given.update(values))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    lists = {"": given["install_requires"], **given["extras_require"]}
    assert {"app", "cuda", "test", "tpu"} <= lists.keys()
    for extra, lines in lists.items():
        names = [Requirement(line).name.lower() for line in lines]
        assert len(set(names)) == len(names), extra
