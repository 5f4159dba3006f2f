"""Flags whose mistakes are one line, and the log."""

import argparse
import io
import logging
import sys
from typing import Any, NoReturn

from tqdm import tqdm

from anchoredit_jax.errors import UserError

_OURS = "anchoredit_jax"


class Parser(argparse.ArgumentParser):
    """Shows `description` as it is written; a wrong flag raises `UserError`.

    Every script takes --verbose; parsing sets the log up accordingly.
    """

    def __init__(self, description: str | None = None, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(description=description, allow_abbrev=False, **options)
        self.add_argument(
            "--verbose",
            action="store_true",
            default=argparse.SUPPRESS,  # or that of a command hides that before it
            help="show what libraries log, too",
        )

    def parse_args(self, *args: Any, **options: Any) -> argparse.Namespace:
        parsed = super().parse_args(*args, **options)
        set_up_log(vars(parsed).pop("verbose", False))
        return parsed

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def set_up_log(verbose: bool = False) -> None:
    """Show what this package warns of, and what others call an error; with `verbose`
    all that is logged. What fails in a callback that nobody waits for any more, as of
    reads beside one that failed, is logged as well.

    Names of files may hold bytes that are no text; they are shown escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handler = _BesideBars()
    handler.name = _OURS
    if verbose:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    else:
        handler.addFilter(_is_for_people)
    root = logging.getLogger()
    for other in [other for other in root.handlers if other.name == _OURS]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.captureWarnings(True)
    if sys.unraisablehook is sys.__unraisablehook__:  # nobody else's
        sys.unraisablehook = _log_unraisable


def _log_unraisable(failed: "sys.UnraisableHookArgs") -> None:
    error = failed.exc_value
    logging.getLogger(_OURS).info("nobody waits for it: %s", error, exc_info=error)


class _BesideBars(logging.Handler):
    """Writes to stderr, and leaves the progress bars there whole."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def _is_for_people(record: logging.LogRecord) -> bool:
    ours = record.name == _OURS or record.name.startswith(f"{_OURS}.")
    return ours or record.levelno >= logging.ERROR
