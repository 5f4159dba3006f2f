"""Temporary files of a page: nobody else's to read, and gone after any end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import page_folder as module
from anchoredit_jax.session.page_folder import PREFIX, page_folder

WAITING = """
import importlib.util, signal, sys
spec = importlib.util.spec_from_file_location("page_folder", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

def end(number, _):
    raise SystemExit(128 + number)

signal.signal(signal.SIGTERM, end)
with module.page_folder(sys.argv[2]) as folder:
    (folder / "picture.png").write_text("private")
    print(folder, flush=True)
    signal.pause()
"""


def start(place):
    command = [sys.executable, "-c", WAITING, module.__file__, str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process.stdout as told:
        return process, Path(told.readline().strip())


def test_it_is_its_owners_alone_and_gone_at_the_end(tmp_path):
    with page_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "picture.png").touch()
    assert not list(tmp_path.iterdir())


def test_sigterm_removes_it_and_the_next_page_what_a_kill_left(tmp_path):
    process, folder = start(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143 and not folder.exists()
    killed, left = start(tmp_path)
    killed.kill()
    killed.wait(60)
    running, used = start(tmp_path)  # removes what was left
    assert (used / "picture.png").exists() and not left.exists()
    foreign = tmp_path / f"{PREFIX}notes"  # no page made it: it has no lock
    foreign.mkdir()
    with page_folder(tmp_path):
        assert (used / "picture.png").exists() and foreign.exists()
    running.terminate()
    assert running.wait(60) == 143 and list(tmp_path.iterdir()) == [foreign]


def test_a_place_that_takes_nothing_is_a_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="set TMPDIR to one of your own"),
        page_folder(tmp_path / "file"),
    ):
        pass
