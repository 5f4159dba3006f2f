"""Everything that is wrong with a data set, collected and refused at once."""

import contextlib
from collections.abc import Iterator, Sequence

from anchoredit_jax.errors import UserError

_SHOWN = 5


class ProblemsError(UserError):
    """Several things are wrong; the message has the first few.

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
