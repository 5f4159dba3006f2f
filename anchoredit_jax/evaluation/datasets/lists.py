"""Source images with lists of instructions, as session benchmarks publish them.

Either a `metadata.jsonl`, one session a line, with paths relative to it:

  {"file_name": "0.png", "instructions": ["make it blue", ..]}

where "context" is read as "instructions" too, "instruction" as a list of one,
"description_target" as captions of the targets, and "index" or "id" as the session's
name; or, beside an image, a text file of its name with an instruction a line.
"""

import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchoredit_jax.data.images import decode_image
from anchoredit_jax.errors import ProblemsError, UserError, noting
from anchoredit_jax.evaluation.datasets.turns import Turn, checked_text, inside
from anchoredit_jax.evaluation.folder_cases import check_name
from anchoredit_jax.session.image_folder import SUFFIXES

METADATA = "metadata.jsonl"
_INSTRUCTIONS = ("instructions", "context", "instruction")
_NAMES = ("id", "index")


def read_sessions(
    root: Path, turns: int | None = None, limit: int | None = None
) -> dict[str, list[Turn]]:
    """Session -> its turns, in the order of the file, or by name.

    Args:
      turns: at most so many of every session, from its first.
      limit: at most so many sessions.

    Raises:
      UserError: a file that cannot be read, or without sessions.
      ProblemsError: sessions that are not sound; none is left out.
    """
    problems: list[str] = []
    sessions: dict[str, list[Turn]] = {}
    for label, document in _documents(root)[:limit]:
        with noting(problems, label):
            if not isinstance(document, Mapping):
                raise UserError(f"expected a JSON object, found {document!r:.60}")
            name, own = _session(root, document)
            if name in sessions:
                raise UserError(f"a second session is named {name!r}")
            decode_image(own[0].source)
            sessions[name] = own[:turns]
    if problems:
        raise ProblemsError(
            problems,
            f"the sessions of {str(root)!r}",
            "Mend or remove these: a benchmark is evaluated as a whole",
        )
    if not sessions:
        raise UserError(f"no sessions in {str(root)!r}: its list of them is empty")
    return sessions


def find_texts(root: Path) -> dict[Path, Path]:
    """Image -> the text file of its name, of those that have one, by name."""
    return {
        image: text
        for text in sorted(root.glob("*.txt"))
        for image in sorted(root.glob(f"{glob.escape(text.stem)}.*"))
        if image.suffix.lower() in SUFFIXES and image.is_file()
    }


def _documents(root: Path) -> list[tuple[str, Any]]:
    """(what errors call it, its document) of every session."""
    path = root / METADATA
    if not path.is_file():
        return [
            (image.name, {"file_name": image.name, "instructions": _lines(text)})
            for image, text in find_texts(root).items()
        ]
    found = []
    for number, line in enumerate(_lines(path), 1):
        try:
            found.append((f"line {number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{str(path)!r}, line {number}, is no JSON: {error}"
            ) from error
    return found


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _session(root: Path, document: Mapping[str, Any]) -> tuple[str, list[Turn]]:
    image = inside(root, document.get("file_name"), "'file_name'")
    name = next(
        (str(document[key]) for key in _NAMES if document.get(key) is not None),
        image.stem,
    )
    check_name(name)
    key = next((key for key in _INSTRUCTIONS if key in document), None)
    if key is None:
        raise UserError(f"expected one of {', '.join(_INSTRUCTIONS)}, found none")
    given = document[key]
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not given:
        raise UserError(f"{key!r} must be a list of texts, given {given!r:.60}")
    texts = [checked_text(text, f"{key!r} {n}") for n, text in enumerate(given, 1)]
    captions = document.get("description_target")
    if captions is None:
        captions = [None] * len(texts)
    elif not isinstance(captions, list) or len(captions) != len(texts):
        raise UserError(
            f"'description_target' must be a list of {len(texts)} texts, one a turn"
        )
    else:
        captions = [checked_text(text, "'description_target'") for text in captions]
    sources = [image, *[None] * (len(texts) - 1)]
    columns = zip(texts, sources, captions, strict=True)
    return name, [Turn(text, source, None, said) for text, source, said in columns]
