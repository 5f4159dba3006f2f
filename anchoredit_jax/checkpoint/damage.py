"""What a person is told of a checkpoint that cannot be read, in one line."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anchoredit_jax.checkpoint.checksums import checksums, shape_text
from anchoredit_jax.checkpoint.steps import ABSENT, check_given, not_now
from anchoredit_jax.errors import UserError
from anchoredit_jax.trees import leaves_by_name

# What Orbax and tensorstore raise about files that are gone, shortened or altered.
DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError,
    NotImplementedError, RecursionError, TypeError, ValueError,
)  # fmt: skip
LISTED = 3  # arrays named in a message


@contextlib.contextmanager
def reading(step_dir: Path, what: str) -> Iterator[None]:
    """Errors of damaged files become one line that names the step's folder.

    Args:
      what: is read, such as "ema".

    Raises:
      DamagedError: it is not what was saved.
      OSError: the disk does not give it at the moment.
    """
    _forget_pending_reads()  # an error of theirs may come before ours does
    try:
        yield
    except UserError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, *ABSENT):
            raise not_now(error, Path(step_dir)) from error
        check_given(step_dir)  # others than Python tell it in words of their own
        reason = " ".join(str(error).split())[:200] or "no reason given"
        raise DamagedError(
            f"{step_dir} is damaged: its {what!r} cannot be read "
            f"({type(error).__name__}: {reason})"
        ) from error


def _forget_pending_reads() -> None:
    """Keep quiet about arrays whose reading goes on when that of another has failed.

    Orbax closes its event loop then; tensorstore tells of each later, in a traceback.
    """
    if getattr(sys.unraisablehook, "forgets_pending_reads", False):
        return
    before = sys.unraisablehook

    def hook(raised: Any) -> None:
        closed = isinstance(raised.exc_value, RuntimeError)
        if not (closed and "Event loop is closed" in str(raised.exc_value)):
            before(raised)

    hook.forgets_pending_reads = True  # pyright: ignore[reportFunctionMemberAccess]
    sys.unraisablehook = hook
    logging.getLogger("asyncio").addFilter(
        lambda record: "exception was never retrieved" not in record.getMessage()
    )


class DamagedError(UserError):
    """Stored files are not what was saved.

    Attributes:
      advised: whether the message says what to do.
    """

    def __init__(self, message: str, advised: bool = False):
        super().__init__(message)
        self.advised = advised


def check_shapes(step_dir: Path, stored: Mapping[str, str], item: str, tree: Any):
    """Refuse an item whose names, shapes and dtypes are not those that were saved,
    before memory is taken for them; see `check_arrays`."""
    found = {name: shape_text(leaf) for name, leaf in leaves_by_name(tree).items()}
    wanted = {name: text.partition(" ")[0] for name, text in stored.items()}
    _compare(step_dir, wanted, item, found)
    due = {name for name in stored if name.startswith(f"{item}/")}
    if lost := sorted(due.difference(f"{item}/{name}" for name in found)):
        names = ", ".join(lost[:LISTED])
        raise DamagedError(f"{step_dir} is damaged: it lacks arrays, such as {names}")


def check_arrays(step_dir: Path, stored: Mapping[str, str], item: str, tree: Any):
    """Refuse arrays that are not those that were saved.

    Args:
      stored: checksums of the step by "item/name"; empty for a step that was saved
        before there were any, which passes.
      tree: of the item, or a part of it.

    Raises:
      DamagedError: it names arrays.
    """
    if stored:
        _compare(step_dir, stored, item, checksums(tree))


def _compare(
    step_dir: Path, stored: Mapping[str, str], item: str, found: Mapping[str, str]
) -> None:
    if not stored:
        return
    names = [f"{item}/{name}" for name in found]
    pairs = zip(names, found.values(), strict=True)
    bad = [name for name, text in pairs if stored.get(name) != text]
    if bad:
        more = f" and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        raise DamagedError(
            f"{step_dir} is damaged: {', '.join(bad[:LISTED])}{more} "
            f"{'are' if len(bad) > 1 else 'is'} not what was saved (by checksum)"
        )
