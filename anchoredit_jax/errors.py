"""The errors that a user can cause and a launch script reports in a line."""

import contextlib
import enum
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

_SHOWN = 5  # of several problems, in a message


class Exit(enum.IntEnum):
    """The exit codes of all commands; docs/exit_codes.md says what to do about each."""

    DONE = 0
    FAULT = 1
    WRONG_INPUT = 2
    HOST_FAULT = 3
    DIVERGED = 4
    DISK = 74
    TERMINATED = 75
    INTERRUPTED = 130


class UserError(ValueError):
    """Something the caller gave is wrong: says what was expected, given and to do."""


class ProblemsError(UserError):
    """Several things are wrong with a data set: all are collected, and refused at once.

    The message has the first few.

    Attributes:
      problems: all of them, one line each.
    """

    def __init__(self, problems: Sequence[str], what: str, advice: str):
        """
        Args:
          what: is wrong, such as "the sessions of 'x'".
          advice: what to do.
        """
        shown = "; ".join(problems[:_SHOWN])
        more = len(problems) - _SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        super().__init__(f"{count} with {what}: {shown}{rest}. {advice}")
        self.problems = tuple(problems)


@contextlib.contextmanager
def noting(problems: list[str], where: str) -> Iterator[None]:
    """Add a `UserError` to the problems, after the name of what it is about."""
    try:
        yield
    except UserError as error:
        problems.append(f"{where}: {error}")


@contextlib.contextmanager
def refusing_os_errors(what: str) -> Iterator[None]:
    """Tell what the disk refuses: no space, no right, a name that is too long."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{what}: {error}") from error


@contextlib.contextmanager
def exit_on_user_error(sigterm: bool = True) -> Iterator[None]:
    """Turn a `UserError` into one line on stderr and its exit code (launch scripts).

    What the disk refuses is a line too: some of the work may be done. With --verbose
    the log tells where it was refused. Ctrl-C and SIGTERM let go of what is held, as
    locks and other processes, and end by a line.

    Args:
      sigterm: False leaves SIGTERM as it is.
    """
    try:
        with _sigterm_ends() if sigterm else contextlib.nullcontext():
            yield
    except UserError as error:
        _tell(error)
        raise SystemExit(Exit.WRONG_INPUT) from error
    except OSError as error:
        _tell(error)
        raise SystemExit(Exit.DISK) from error
    except KeyboardInterrupt as error:
        print("stopped", file=sys.stderr)
        raise SystemExit(Exit.INTERRUPTED) from error


@contextlib.contextmanager
def _sigterm_ends() -> Iterator[None]:
    """Let SIGTERM raise in the main thread, the only one where Python allows it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _Terminated as error:
        print("stopped by SIGTERM", file=sys.stderr)
        raise SystemExit(Exit.TERMINATED) from error
    finally:
        signal.signal(signal.SIGTERM, before)


class _Terminated(BaseException):
    """SIGTERM came; nothing but `_sigterm_ends` catches it."""


def _tell(error: Exception) -> None:
    print(f"error: {error}", file=sys.stderr)
    logging.getLogger(__name__).info("raised here:", exc_info=error)
