"""Instructions that a text encoder refuses, found before any work is done with them."""

from collections.abc import Callable, Collection

import numpy as np

from anchoredit_jax.data.groups import Groups
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.errors import ProblemsError
from anchoredit_jax.models.text import TextEncoder

_ADVICE = (
    "To leave them out, prepare again in a new folder with launch/prepare_data.py "
    "--config"
)


def check_texts(
    sessions: PreparedSessions,
    groups: Groups,
    text: TextEncoder,
    excluded: Collection[int] = (),
    also: str = "",
) -> None:
    """Ask an encoder that refuses some texts for all of them.

    UMT5 takes every text, and reads the beginning of a long one: nothing is read then.

    Args:
      groups: those of no group are not asked for.
      excluded: numbers of other sessions that are not.
      also: a further thing that helps.

    Raises:
      ProblemsError: it names the sessions and their turns.
    """
    refusal: Callable[[str], str] | None = getattr(text, "refusal", None)
    if refusal is None:
        return
    used = np.flatnonzero(groups.of_session < len(groups.shapes)).tolist()
    problems = []
    for index in used:
        if index in excluded:
            continue
        session = sessions[index]
        problems += [
            f"session {session.key!r}, turn {turn}, {language}: {refused}"
            for language, texts in session.instructions.items()
            for turn, told in enumerate(texts, 1)
            if (refused := refusal(told))
        ]
    if problems:
        what = f"the instructions in {str(sessions.folder)!r}"
        raise ProblemsError(problems, what, _ADVICE + also)
