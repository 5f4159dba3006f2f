"""The workdir of a run: one run at a time has it, and all its hosts share it."""

import contextlib
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from anchoredit_jax.errors import UserError
from anchoredit_jax.in_use import in_use, read_holder
from anchoredit_jax.parallel import hosts

# How long another host may need to see what the first one wrote: NFS looks again for a
# file that it did not find after up to a minute.
VISIBLE_SECONDS = 75


@contextlib.contextmanager
def run_alone(workdir: str | Path) -> Iterator[None]:
    """Have a workdir until the block ends; every process of the run calls it.

    Raises:
      UserError: another run has it, or the hosts do not share it; nothing is left.
    """
    folder = Path(workdir).absolute()
    with contextlib.ExitStack() as stack:
        seal, refused = 0, None
        if hosts.is_lead():
            try:
                seal = _seal(stack.enter_context(in_use(folder)).token)
            except (UserError, OSError) as error:  # the others wait to hear of it
                refused = error
        seal = hosts.from_lead(seal)
        if refused is not None:
            raise refused
        if not seal:
            raise UserError(f"process 0 cannot have {folder}, see what it says")
        blind = hosts.gathered(0 if _visible(folder, seal) else 1)
        if any(blind):
            where = ", ".join(str(number) for number, one in enumerate(blind) if one)
            raise UserError(
                f"--workdir must be one folder that all hosts share: what process 0 "
                f"wrote into {folder} is not there for process {where} after "
                f"{VISIBLE_SECONDS} s; nothing was begun, give a folder on a shared "
                "file system"
            )
        yield


def _visible(folder: Path, seal: int) -> bool:
    """Whether the lead's token is in this process's folder, now or a little later."""
    end = time.monotonic() + VISIBLE_SECONDS
    while True:
        if folder.is_dir():
            list(folder.iterdir())  # a network's file system looks again
        holder = read_holder(folder)
        if holder is not None and _seal(holder.token) == seal:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.2)


def _seal(token: str) -> int:
    """A number other than 0."""
    return zlib.crc32(token.encode()) or 1
