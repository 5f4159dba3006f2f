"""What people see of the log, and of what the disk refuses."""

import logging
import os
import sys

import pytest

from anchoredit_jax.command_line import Parser, set_up_log
from anchoredit_jax.errors import exit_on_user_error


@pytest.fixture(autouse=True)
def same_log():
    """The log of this process is as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def log_all():
    logging.getLogger("anchoredit_jax.room").warning("weights lie beside")
    logging.getLogger("anchoredit_jax.room").info("a detail")
    logging.getLogger("absl").warning("a deprecation")
    logging.getLogger("orbax").error("a disk is gone")


def test_a_person_sees_our_warnings_and_the_errors_of_others(capsys):
    Parser().parse_args([])
    log_all()
    assert capsys.readouterr().err == "weights lie beside\na disk is gone\n"


def test_verbose_shows_all_also_behind_a_command(capsys):
    parser = Parser()
    parser.add_subparsers().add_parser("run")
    for flags in (["--verbose", "run"], ["run", "--verbose"]):
        assert vars(parser.parse_args(flags)) == {}
        log_all()
        shown = capsys.readouterr().err.splitlines()
        assert len(shown) == 4 and "WARNING absl: a deprecation" in shown


def test_what_the_disk_refuses_is_a_line(tmp_path, capsys):
    set_up_log()
    with pytest.raises(SystemExit) as caught, exit_on_user_error():
        (tmp_path / ("n" * 300)).mkdir()
    err = capsys.readouterr().err
    assert caught.value.code == 74 and err.count("\n") == 1 and "too long" in err
    set_up_log(verbose=True)
    with pytest.raises(SystemExit), exit_on_user_error():
        (tmp_path / ("n" * 300)).mkdir()
    assert "Traceback" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_printed_escaped(capfd):
    set_up_log()
    print(os.fsdecode(b"caf\xe9"))
    assert "caf\\udce9" in capfd.readouterr().out


class Callback:
    def __del__(self):
        raise RuntimeError("Event loop is closed")


@pytest.mark.parametrize("verbose", [False, True])
def test_what_fails_where_nobody_waits_is_shown_by_verbose_alone(
    capsys, monkeypatch, verbose
):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    set_up_log(verbose)
    Callback()
    assert ("Event loop is closed" in capsys.readouterr().err) == verbose
