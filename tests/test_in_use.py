"""One command at a time writes into a folder."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.files import LOCK
from anchoredit_jax.in_use import HOLDER, in_place_of, in_use, read_holder

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys
from anchoredit_jax.in_use import in_use
with in_use(sys.argv[1]):
    print("has it", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that has the folder `w`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "w"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_process_is_told_who_has_it(tmp_path, other):
    with pytest.raises(UserError) as refused, in_use(tmp_path / "w"):
        raise AssertionError
    said = str(refused.value)
    assert "\n" not in said and f"process {other.pid} of {socket.gethostname()}" in said
    assert f"kill {other.pid}" in said and "-c" in said
    other.communicate("")
    with in_use(tmp_path / "w"):
        assert read_holder(tmp_path / "w").process == os.getpid()


def test_a_killed_process_leaves_a_lock_that_is_taken_over(tmp_path, other, capsys):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert left(tmp_path / "w") == [LOCK, HOLDER]
    with in_use(tmp_path / "w"):
        said = capsys.readouterr().err
        assert f"taken over from process {other.pid}" in said and said.count("\n") == 1
        assert read_holder(tmp_path / "w").process == os.getpid()
    assert not (tmp_path / "w").exists() or left(tmp_path / "w") == []


def test_a_process_of_the_same_number_is_another_one(tmp_path, other, capsys):
    """A container's processes have the numbers of those before."""
    other.send_signal(signal.SIGSTOP)
    path = tmp_path / "w" / LOCK
    number, host, began, *_ = path.read_text().splitlines()
    path.write_text(f"{os.getpid()}\n{host}\n{int(began) + 1}\n")
    with in_use(tmp_path / "w"):
        assert "taken over" in capsys.readouterr().err


def write_lock(folder, **others):
    """What a process of another host left."""
    folder.mkdir()
    (folder / LOCK).write_text("12\nfar-away\n99\n")
    told = dict(host="far-away", process=12, started="2026-01-01 10:00:00")
    told |= dict(command="python launch/train.py", token="t", job="", attempt=0)
    (folder / HOLDER).write_text(json.dumps(told | others))


def test_the_lock_of_another_host_is_for_a_person_to_remove(tmp_path):
    write_lock(tmp_path / "w")
    with pytest.raises(UserError, match="process 12 of far-away") as refused:
        in_use(tmp_path / "w").__enter__()
    command = str(refused.value).rpartition("remove its lock: ")[2]
    assert command == f"rm {tmp_path / 'w' / LOCK}"
    subprocess.run(command.split(), check=True)
    with in_use(tmp_path / "w"):
        pass


def test_a_job_that_was_started_again_takes_over_from_itself(tmp_path, monkeypatch):
    write_lock(tmp_path / "w", job="77", attempt=1)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(UserError, match="far-away"):
        in_use(tmp_path / "w").__enter__()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    with in_use(tmp_path / "w") as holder:
        assert (holder.job, holder.attempt) == ("77", 2)


def test_a_file_system_without_flock_will_do(tmp_path, monkeypatch, other):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "no locks here")

    for name in ("flock", "lockf", "fcntl"):
        monkeypatch.setattr(fcntl, name, refuse)
    with in_use(tmp_path / "v"), in_use(tmp_path / "v"):
        assert read_holder(tmp_path / "v").process == os.getpid()
    with pytest.raises(UserError, match="is in use by"):
        in_use(tmp_path / "w").__enter__()


def test_what_nothing_came_of_is_removed(tmp_path):
    with in_use(tmp_path / "a" / "b"), in_use(tmp_path / "a" / "b"):
        assert left(tmp_path / "a" / "b") == [LOCK, HOLDER]
    with in_place_of(tmp_path / "c" / "out"):
        (tmp_path / "c" / "out").mkdir()
    assert left(tmp_path) == ["c"] and left(tmp_path / "c") == ["out"]


def test_shares_of_a_folder_have_their_own(tmp_path):
    with in_use(tmp_path, ".0-of-2"), in_use(tmp_path, ".1-of-2"):
        assert len(left(tmp_path)) == 4


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "w").write_text("")
    with pytest.raises(UserError, match="is a file"):
        in_use(tmp_path / "w").__enter__()
