"""What commands compile is kept on disk, within a limit."""

import importlib
import os
import subprocess
import sys

import pytest

from anchoredit_jax.command_line import programs

ASK = """
import os
from anchoredit_jax.command_line.programs import prepare_compiling
prepare_compiling()
prepare_compiling()
import jax
print(jax.config.jax_compilation_cache_dir)
print(jax.jit(lambda x: x * 2)(3))
"""
SETTINGS = ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR")


def ask(home, **more):
    """(JAX's folder, what was told) of a process with this cache folder."""
    others = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    more = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", **more}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**others, "XDG_CACHE_HOME": str(home), **more},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder, result = done.stdout.splitlines()
    assert result == "6"
    return folder, done.stderr


def test_programs_are_kept_where_the_user_keeps_such_and_this_is_told_once(tmp_path):
    folder, told = ask(tmp_path)
    assert folder.startswith(str(tmp_path / "anchoredit_jax" / "programs-"))
    assert folder in told and told.count("\n") == 1
    kept = sorted(os.listdir(folder))
    assert kept
    assert ask(tmp_path) == (folder, "")
    assert sorted(os.listdir(folder)) == kept  # the second process made none


def test_who_has_set_a_folder_has_decided(tmp_path):
    folder, told = ask(tmp_path / "a", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "b"))
    assert (folder, told) == (str(tmp_path / "b"), "")
    assert ask(tmp_path / "a", JAX_ENABLE_COMPILATION_CACHE="false") == ("None", "")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("given", "version", "asked"),
    [
        ("", "0.10.9", programs.QUICKLY),
        ("", "0.11.0", None),  # which may not know the flag, and would abort
        ("--xla_dump_to=D", "0.10.9", "--xla_dump_to=D"),
    ],
)
def test_xla_compiles_quickly_unless_its_flags_are_set(
    given, version, asked, monkeypatch, tmp_path
):
    monkeypatch.setenv("XLA_FLAGS", given)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(programs, "version", lambda name: version)
    monkeypatch.delitem(sys.modules, "jax")
    for name in SETTINGS:
        monkeypatch.setenv(name, str(tmp_path))  # nothing is set behind the test
    programs.prepare_compiling()
    assert os.environ.get("XLA_FLAGS") == (asked or "")


def test_jaxlib_knows_what_it_is_asked_for():
    code = "import jax; print(jax.jit(lambda x: x * 2)(3))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XLA_FLAGS": programs.QUICKLY},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "6\n"


def test_without_a_folder_nothing_is_kept(tmp_path):
    (tmp_path / "file").write_text("")
    assert ask(tmp_path / "file") == ("None", "")


def test_in_a_process_that_has_jax_nothing_changes(monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    programs.prepare_compiling()
    assert dict(os.environ) == before


def test_the_oldest_go_first(tmp_path):
    for age, name in enumerate("cab"):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (age, age))
    programs.remove_oldest(tmp_path, 30)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
    programs.remove_oldest(tmp_path, 19)
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("app", ""),
        ("curriculum", "--config C --workdir W"),
        ("edit", "--image I --instruction E --out O"),
        ("evaluate", "--out O"),
        ("train", "--config C --workdir W"),
    ],
)
def test_commands_that_compile_prepare_it(command, flags, monkeypatch):
    main = importlib.import_module(f"launch.{command}")
    monkeypatch.setattr(main, "prepare_compiling", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.main(flags.split())


@pytest.mark.parametrize("command", ["curriculum", "train"])
def test_one_of_several_hosts_keeps_none(command, monkeypatch, capsys):
    main = importlib.import_module(f"launch.{command}")
    monkeypatch.setattr(main, "prepare_compiling", lambda: 1 / 0)
    several = "--coordinator 127.0.0.1:1 --processes 2 --process 1"
    with pytest.raises(SystemExit):  # nothing is compiled: there is no such file
        main.main(f"--config C --workdir W {several}".split())
    assert "config" in capsys.readouterr().err
