"""Folders that one command at a time writes into.

The lock is a file that only one process can make, on every file system; flock, which
some shared ones lack, is not asked for. It outlives a process that was killed: where
the same host can see that this process is gone, the next one takes over and says so.
What a process of another host left has to be removed by a person, or is known to be
gone: a scheduler that starts a job again has ended it before.
"""

import contextlib
import dataclasses
import datetime
import os
import shlex
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
from filelock import SoftFileLock, Timeout

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import build_dataclass, result

HOLDER = f"{files.LOCK}.json"  # who it is, for people and for other hosts
_SHOWN = 300  # characters of a command, in one line
_SECONDS = 1  # a lock that is taken over needs a second try on some file systems
# A job that a scheduler started again, and how many times: what of the same job has a
# lower number is gone, on whatever host it was.
_ATTEMPTS = (
    ("ANCHOREDIT_JOB", "ANCHOREDIT_ATTEMPT"),
    ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"),
)


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that has a folder.

    Attributes:
      host, process: where it runs, and its number there.
      started: when it took the folder, in local time.
      command: what was typed, in one line, the first of it.
      token: of this holding alone; other hosts of a run read it to see that they share
        the folder.
      job, attempt: of a scheduler, see `_ATTEMPTS`; "" for none.
    """

    host: str = result()
    process: int = result(within="[1, 1e10]")
    started: str = result()
    command: str = result()
    token: str = result()
    job: str = result("")
    attempt: int = result(0, within="[0, 1e18]")

    def describe(self) -> str:
        """Who it is, for a line."""
        return (
            f"process {self.process} of {self.host} since {self.started} "
            f"({self.command})"
        )


class FolderInUse(UserError):
    """Another process has a folder.

    Attributes:
      holder: says which one.
    """

    def __init__(self, path: Path, holder: Holder | None):
        super().__init__(_taken(path, holder))
        self.holder = "another process" if holder is None else holder.describe()


@contextlib.contextmanager
def in_use(folder: str | Path, name: str = "") -> Iterator[Holder]:
    """Have a folder until the block ends; what this process has already, it may have.

    Args:
      folder: is made where it is missing, and removed again where nothing came of it.
      name: of a share of the folder that others may have the rest of.

    Raises:
      FolderInUse: another process has it; it says which one, and what to do.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"the folder {str(folder)!r} is a file; give a folder")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path, about = folder / f"{files.LOCK}{name}", folder / f"{HOLDER}{name}"
    lock = SoftFileLock(str(path), timeout=_SECONDS, is_singleton=True)
    try:
        if lock.is_locked:
            with lock:
                yield _read(about) or _this_process()
            return
        with _acquired(lock, path, about) as before:
            if before is not None:
                print(
                    f"{folder}: taken over from {before.describe()}, which is gone",
                    file=sys.stderr,
                )
            holder = _this_process()
            files.write_json(about, dataclasses.asdict(holder))
            try:
                yield holder
            finally:
                if (there := _read(about)) is not None and there == holder:
                    about.unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # something came of it
            for path in made:
                path.rmdir()


@contextlib.contextmanager
def _acquired(lock: SoftFileLock, path: Path, about: Path) -> Iterator[Holder | None]:
    """Yields who had it before and is gone, or None."""
    before = _read(about) if path.exists() else None
    this = _this_process()
    # Of this host it can be seen.
    if before is not None and before.host != this.host and before.job:
        if before.job == this.job and before.attempt < this.attempt:
            lock.break_lock()
    try:
        lock.acquire()
    except Timeout as error:
        raise FolderInUse(path, _read(about)) from error
    try:
        yield before
    finally:
        lock.release()


def in_place_of(path: str | Path) -> contextlib.AbstractContextManager[Holder]:
    """Have the place of what is about to appear whole, see `in_use`."""
    path = Path(path).absolute()
    return in_use(path.parent, f".{path.name}")


def read_holder(folder: Path) -> Holder | None:
    """Who has a folder, as it is written there; None where nobody has it."""
    return _read(Path(folder) / HOLDER)


def _read(about: Path) -> Holder | None:
    try:
        return build_dataclass(Holder, files.read_json(about), "holder")
    except UserError:  # it is not there yet, or not any more
        return None


def _this_process() -> Holder:
    job, attempt = "", "0"
    for of_job, of_attempt in _ATTEMPTS:
        if os.environ.get(of_job):
            job, attempt = os.environ[of_job], os.environ.get(of_attempt, "0")
            break
    return Holder(
        host=socket.gethostname(),
        process=os.getpid(),
        started=datetime.datetime.now().isoformat(" ", "seconds"),
        command=" ".join(shlex.join(sys.orig_argv).split())[:_SHOWN],
        token=uuid.uuid4().hex,
        job=job,
        attempt=int(attempt) if attempt.isdecimal() else 0,
    )


def _taken(path: Path, holder: Holder | None) -> str:
    who = f"another process, which {path} does not name"
    if holder is not None:
        who = holder.describe()
    advice = f"if that process is gone, remove its lock: rm {shlex.quote(str(path))}"
    if holder is not None and holder.host == socket.gethostname():
        if psutil.pid_exists(holder.process):
            advice = f"wait for it, or stop it: kill {holder.process}"
    return (
        f"{str(path.parent)!r} is in use by {who}: two at once would damage it; give "
        f"another folder, or {advice}"
    )
