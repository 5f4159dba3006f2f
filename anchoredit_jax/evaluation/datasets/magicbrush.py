"""MagicBrush's published dev and test layout.

images/<img_id>/<img_id>-input.png, <img_id>-output1.png, .. (masks are not read)
edit_sessions.json        {img_id: [{"input", "mask", "output", "instruction"}, ..]}
edit_turns.json           the same turns in one list, where there are no sessions
global_descriptions.json  {img_id: {image's name: its caption}}, if there
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchoredit_jax.data.images import decode_image
from anchoredit_jax.errors import ProblemsError, UserError, noting
from anchoredit_jax.evaluation.datasets.turns import Turn, checked_text, inside
from anchoredit_jax.evaluation.folder_cases import check_name

SESSIONS, TURNS = FILES = ("edit_sessions.json", "edit_turns.json")
CAPTIONS, IMAGES = "global_descriptions.json", "images"


def read_sessions(
    root: Path, turns: int | None = None, limit: int | None = None
) -> dict[str, list[Turn]]:
    """Session -> its turns, in the order of the file.

    Every image that counts is decoded once.

    Args:
      turns: at most so many of every session, from its first.
      limit: at most so many sessions.

    Raises:
      UserError: a file that cannot be read, or without sessions.
      ProblemsError: sessions that are not sound; none is left out.
    """
    found = _sessions(root)
    if not found:
        raise UserError(f"no sessions in {str(root)!r}: its list of edits is empty")
    captions = _read(root / CAPTIONS, dict) if (root / CAPTIONS).is_file() else {}
    problems: list[str] = []
    sessions: dict[str, list[Turn]] = {}
    for name in list(found)[:limit]:
        with noting(problems, name):
            check_name(name)
            own = _turns(root / IMAGES / name, name, found[name], captions)[:turns]
            for turn in own:
                decode_image(turn.source)
                decode_image(turn.target)
            sessions[name] = own
    if problems:
        raise ProblemsError(
            problems,
            f"the sessions of {str(root)!r}",
            "Mend or remove these: a benchmark is evaluated as a whole",
        )
    return sessions


def _sessions(root: Path) -> dict[str, Any]:
    if (root / SESSIONS).is_file():
        return _read(root / SESSIONS, dict)
    sessions: dict[str, Any] = {}
    for number, edit in enumerate(_read(root / TURNS, list), 1):
        name = edit.get("input") if isinstance(edit, dict) else None
        if not isinstance(name, str):
            raise UserError(
                f"{str(root / TURNS)!r}: edit {number} has no 'input', the name of its "
                "source"
            )
        sessions.setdefault(name.partition("-")[0], []).append(edit)
    return sessions


def _turns(
    folder: Path, session: str, edits: Any, captions: Mapping[str, Any]
) -> list[Turn]:
    if not isinstance(edits, list) or not edits:
        raise UserError("expected a list of edits")
    own = captions.get(session, {})
    if not isinstance(own, Mapping):
        raise UserError(f"{CAPTIONS} has no captions by image, but {own!r:.60}")
    turns, before = [], None
    for number, edit in enumerate(edits, 1):
        what = f"edit {number}"
        if not isinstance(edit, Mapping):
            raise UserError(f"{what} must be an object, given {edit!r:.60}")
        text = checked_text(edit.get("instruction"), f"{what}: 'instruction'")
        source = inside(folder, edit.get("input"), f"{what}: 'input'")
        target = inside(folder, edit.get("output"), f"{what}: 'output'")
        if before is not None and source != before:
            raise UserError(
                f"{what} starts from {source.name!r}, not from {before.name!r}, the "
                "output before it: turns are out of order, or one is missing"
            )
        caption = own.get(target.name)
        if caption is not None:
            caption = checked_text(caption, f"{CAPTIONS}: {target.name!r}")
        turns.append(Turn(text, source, target, caption))
        before = target
    return turns


def _read(path: Path, kind: type) -> Any:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(document, kind):
        expected = "an object of sessions" if kind is dict else "a list of edits"
        raise UserError(
            f"{str(path)!r}: expected {expected}, found {type(document).__name__}"
        )
    return document
