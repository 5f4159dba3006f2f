"""The one exception that a user can cause and a launch script reports in a line."""

import contextlib
import sys
from collections.abc import Iterator


class UserError(ValueError):
    """Something the caller gave is wrong: says what was expected, given and to do."""


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn a `UserError` into one line on stderr and exit code 2 (launch scripts)."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
