"""The errors that a user can cause and a launch script reports in a line."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence

_SHOWN = 5  # of several problems, in a message


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
def exit_on_user_error() -> Iterator[None]:
    """Turn a `UserError` into one line on stderr and exit code 2 (launch scripts).

    What the disk refuses is a line too, with exit code 1: some of the work may be done.
    With --verbose the log tells where it was refused.
    """
    try:
        yield
    except UserError as error:
        _tell(error)
        raise SystemExit(2) from error
    except OSError as error:
        _tell(error)
        raise SystemExit(1) from error


def _tell(error: Exception) -> None:
    print(f"error: {error}", file=sys.stderr)
    logging.getLogger(__name__).info("raised here:", exc_info=error)
