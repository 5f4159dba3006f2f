"""Which layout a folder has, and its cases."""

import logging
from collections.abc import Callable
from pathlib import Path

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.evaluation.datasets import lists, magicbrush
from anchoredit_jax.evaluation.datasets.turns import session_case, turn_cases
from anchoredit_jax.evaluation.folder_cases import folder_cases

log = logging.getLogger(__name__)

MAGICBRUSH, LISTS, VALIDATION = "magicbrush", "instruction lists", "sessions"
SizeOf = Callable[[Size], Size]


def find_layout(root: str | Path) -> str:
    """`MAGICBRUSH` where its JSON files lie, `LISTS` where a metadata.jsonl or a text
    beside an image does, else `VALIDATION`, a folder for each session."""
    root = Path(root)
    if any((root / name).is_file() for name in magicbrush.FILES):
        return MAGICBRUSH
    if (root / lists.METADATA).is_file() or lists.find_texts(root):
        return LISTS
    return VALIDATION


def dataset_cases(
    root: str | Path,
    size_of: SizeOf,
    language: str = "en",
    turns: int | None = None,
    limit: int | None = None,
) -> list[Case]:
    """The sessions of a data set, whatever its layout.

    Args:
      size_of: gives the (height, width) that a source of (height, width) is edited at.
      language: of the instructions, where a layout has several.
      turns: at most so many of every session, from its first; all by default.
      limit: at most so many sessions.

    Raises:
      UserError: there is no session.
      ProblemsError: some sessions are not sound: a benchmark counts as a whole.
    """
    layout = find_layout(root)
    if layout == VALIDATION:
        return folder_cases(root, size_of, language, turns, limit)
    log.info("%s is read as a test set in the layout %r", root, layout)
    read = magicbrush.read_sessions if layout == MAGICBRUSH else lists.read_sessions
    sessions = read(Path(root), turns, limit)
    return [session_case(name, own, size_of) for name, own in sessions.items()]


def single_turn_cases(
    root: str | Path,
    size_of: SizeOf,
    turns: int | None = None,
    limit: int | None = None,
) -> list[Case]:
    """Every turn by itself, from the right image before it: MagicBrush's single-turn
    setting. Names are those of its published files, <id>_1 and <id>_inde_<turn>.

    Raises:
      UserError: a layout that does not tell the image before each turn.
    """
    if find_layout(root) != MAGICBRUSH:
        raise UserError(
            f"single turns need the right image before every turn: {str(root)!r} is "
            f"not in the layout of MagicBrush ({', '.join(magicbrush.FILES)})"
        )
    sessions = magicbrush.read_sessions(Path(root), turns, limit)
    return [
        case
        for name, own in sessions.items()
        for case in turn_cases(name, own, size_of)
    ]
