"""One table of exit codes, and what ends by them."""

import os
import re
import signal
from pathlib import Path

import pytest

from anchoredit_jax.errors import Exit, UserError, exit_on_user_error

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_has_all_codes():
    page = (ROOT / "docs" / "exit_codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([a-z ]+) \|", page, re.MULTILINE)
    assert [(int(code), name.replace(" ", "_").upper()) for code, name in rows] == [
        (code.value, code.name) for code in Exit
    ]


def ending(do):
    """Exit code of a command that does this."""
    with pytest.raises(SystemExit) as stop, exit_on_user_error():
        do()
    return stop.value.code


def raising(error):
    def do():
        raise error

    return do


def test_endings(capsys):
    let_go = []

    def is_stopped():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            let_go.append("lock")

    before = signal.getsignal(signal.SIGTERM)
    assert ending(raising(UserError("no"))) == Exit.WRONG_INPUT
    assert ending(raising(OSError(28, "full", "/x"))) == Exit.DISK
    assert ending(raising(KeyboardInterrupt)) == Exit.INTERRUPTED
    assert ending(is_stopped) == Exit.TERMINATED and let_go == ["lock"]
    assert signal.getsignal(signal.SIGTERM) == before
    assert capsys.readouterr().err.count("\n") == 4
    with pytest.raises(ZeroDivisionError), exit_on_user_error():
        raising(ZeroDivisionError())()
