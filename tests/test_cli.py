"""The command of an installed package: the scripts by name, one at a time."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax import cli
from anchoredit_jax.version import __version__

LAUNCH = Path(__file__).parents[1] / "launch"
# Of this repository rather than of its users: speed, and the rehearsal of its tests.
OTHERS = {"benchmark", "rehearsal"}


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", ["anchoredit"])


def test_every_script_is_a_command():
    runs = {
        file.stem
        for file in LAUNCH.glob("*.py")
        if "main" in {getattr(part, "name", "") for part in _parts(file)}
    }
    assert set(cli.COMMANDS.values()) == runs - OTHERS


def _parts(file):
    return ast.parse(file.read_text()).body


def test_help_lists_what_each_does_and_imports_none(capsys):
    cli.main([])
    said = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in said
    assert "Train all stages in order, each from the one before." in said
    assert "configs/sprites.py" in said and "python launch" not in said
    code = "import sys; from anchoredit_jax import cli; cli.main(['--help']);"
    code += "print(sorted(sys.modules), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "'anchoredit_jax.cli'" in run.stderr and "'jax'" not in run.stderr


def test_a_command_is_its_script(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["watch", "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: anchoredit watch ")
    assert "anchoredit watch --workdir" in said and "python launch" not in said
    with pytest.raises(SystemExit) as caught:
        cli.main(["watch", "--workdir", "nowhere"])
    assert caught.value.code == 2 and "nowhere" in capsys.readouterr().err


def test_no_other_module_of_that_name_is_taken(tmp_path, monkeypatch):
    """As of a project, or of another package; whole ones go before mere folders."""
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "__init__.py").write_text("raise RuntimeError('other')\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "launch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        cli.main(["watch", "--help"])
    assert caught.value.code == 0


def test_a_misspelt_command_is_a_line(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["trian"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "did you mean 'train'?" in error


def test_its_version(capsys):
    cli.main(["--version"])
    assert capsys.readouterr().out == f"anchoredit_jax {__version__}\n"
