"""`--help` and a wrong flag are answered before anything heavy is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax.choices import FORMATS
from anchoredit_jax.data.sessions.sources import TABLES
from anchoredit_jax.evaluation import DATASET_PARTS, DEFAULT_POLICIES, PARTS
from anchoredit_jax.watching.page import SHEETS
from benchmarks.session_builder.settings import BenchmarkSettings

FOLDER = Path(__file__).parents[2] / "launch"
COMMANDS = sorted(
    path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text()
)
HEAVY = ("jax", "jaxlib", "flax", "orbax", "tensorflow", "torch", "numpy", "PIL")
# Runs a script with each list of flags, and says what it ended with and had imported.
ASK = """
import json, runpy, sys
codes = []
for flags in json.loads(sys.argv[2]):
    given, sys.argv = sys.argv, [sys.argv[1], *flags]
    try:
        runpy.run_path(given[1], run_name="__main__")
    except SystemExit as stop:
        codes.append(stop.code)
    sys.argv = given
print(json.dumps([codes, sorted(sys.modules)]))
"""


def ask(command, *flags):
    """(exit codes, names of modules, what was printed) of one process."""
    path = str(FOLDER / f"{command}.py")
    done = subprocess.run(
        [sys.executable, "-c", ASK, path, json.dumps(flags)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    *shown, last = done.stdout.splitlines()
    codes, modules = json.loads(last)
    return codes, modules, " ".join(" ".join(shown).split()), done.stderr


def test_all_commands_are_found():
    assert {"app", "edit", "evaluate", "train", "watch"} <= set(COMMANDS)
    assert len(COMMANDS) >= 13


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_a_wrong_flag_import_nothing_heavy(command):
    codes, modules, shown, error = ask(command, ["--help"], ["--no-such-flag"])
    assert codes == [0, 2]
    assert shown.startswith("usage: ") and "--verbose" in shown
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not [name for name in HEAVY if name in modules]


def test_defaults_that_help_names_are_those_of_the_package():
    told = ask("evaluate", ["--help"])[2]
    assert f"some of {','.join(PARTS)}; all that the data has by default" in told
    assert f"of a dataset some of {','.join(DATASET_PARTS)}" in told
    assert f"(default: {','.join(DEFAULT_POLICIES)})" in told
    assert f"(default: {SHEETS}; all where" in ask("watch", ["--help"])[2]
    own, told = BenchmarkSettings(), ask("build_benchmark", ["--help"])[2]
    for default in (own.min_side, own.language, own.seed, "{}:{}".format(*own.turns)):
        assert f"(default: {default})" in told


def test_every_format_that_a_flag_takes_has_a_reader():
    assert FORMATS == ("sessions", *TABLES)
