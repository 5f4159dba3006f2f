"""Sessions to evaluate on: folders `<id>/` of a source and what is asked of it.

The layout is that of `raw`, but only image 0 and the document must be there. Images
1 .. N are the right answers; they count where all of them are there. A document may
have "turns", for every instruction an object with

  scope       "local" (a part of the image), "global" (all of it) or null
  returns_to  the turn whose image is the right answer (0: the source), or null
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from anchoredit_jax.data.sessions.folders import list_parts, read_folders
from anchoredit_jax.data.sessions.layouts import is_ignored
from anchoredit_jax.data.sessions.raw import (
    IGNORED,
    PLAIN,
    Dropped,
    RefusedError,
    check_found,
    drop,
    image_size,
    load_document,
    parse_document,
)
from anchoredit_jax.errors import UserError

SCOPES = ("local", "global")

_Document = tuple[tuple[str, ...], tuple[int | None, ...]]


@dataclasses.dataclass(frozen=True)
class ValidationSession:
    """A sound session; all its images were decoded once.

    Attributes:
      key: its id.
      source: image 0, encoded.
      instructions: N texts; "" is the null instruction.
      answers: the files of images 1 .. N; () where not all of them are there.
      returns_to: per instruction, see above; () without "turns" in the document.
    """

    key: str
    source: bytes
    instructions: tuple[str, ...]
    answers: tuple[Path, ...]
    returns_to: tuple[int | None, ...]


def read_validation(
    root: str | Path,
    language: str = "en",
    turns: int | None = None,
    limit: int | None = None,
) -> Iterator[ValidationSession | Dropped]:
    """The sessions of a folder by name; whatever is wrong is `Dropped`.

    What has a hidden name (".git") is no session, and no part of one; nor are files
    that lie beside the folders.

    Args:
      root: holds `<id>/<id>.0.<ext>, <id>.1.<ext>, .., <id>.json`.
      language: of the instructions; plain texts serve where it is not there.
      turns: at most so many of every session, from its first; all by default.
      limit: at most so many sessions; the others are not looked at.

    Raises:
      UserError: there is no session, or there are tar shards.
    """
    parts = list_parts(root)
    shard = next((part for part in parts if part.folders is None), None)
    if shard is not None:
        raise UserError(
            f"{shard.origin!r} is a tar shard: an evaluation reads a folder <id>/ for "
            f"each session, unpack it (and remove it from the folder)"
        )
    names = [
        name
        for part in parts
        for name in part.folders
        if not is_ignored(name) and not Path(root, name).is_file()
    ]
    if not names:
        raise UserError(f"no sessions in {str(root)!r}: expected a folder <id>/ each")
    part = dataclasses.replace(parts[0], folders=tuple(names[:limit]))
    parse = functools.partial(_parse, language=language)
    build = functools.partial(_build, root=Path(part.path), turns=turns)
    return (
        found
        for found in read_folders(part, parse, build)
        if isinstance(found, ValidationSession) or found.reason != IGNORED
    )


def _parse(data: bytes, language: str) -> _Document:
    texts = parse_document(data, (language,))
    instructions = texts[language if language in texts else PLAIN]
    turns = load_document(data).get("turns")
    return instructions, () if turns is None else _returns(turns, len(instructions))


def _returns(turns: object, count: int) -> tuple[int | None, ...]:
    if (
        not isinstance(turns, list)
        or len(turns) != count
        or not all(isinstance(turn, dict) for turn in turns)
    ):
        raise RefusedError(
            "bad json", f"'turns' must be a list of {count} objects, as instructions"
        )
    for number, turn in enumerate(turns, 1):
        target, scope = turn.get("returns_to"), turn.get("scope")
        if target is not None and (
            type(target) is not int or target not in range(number)
        ):
            raise RefusedError(
                "bad json",
                f"turn {number} has 'returns_to' {target!r}: expected the number of an "
                "earlier turn, 0 for the source, or null",
            )
        if scope is not None and scope not in SCOPES:
            raise RefusedError(
                "bad json",
                f"turn {number} has 'scope' {scope!r}: expected "
                + ", ".join(map(repr, SCOPES))
                + " or null",
            )
    return tuple(turn.get("returns_to") for turn in turns)


def _build(
    key: str,
    origin: str,
    images: Mapping[int, tuple[str, bytes]],
    document: _Document | None,
    root: Path,
    turns: int | None,
) -> ValidationSession | Dropped:
    try:
        check_found(images, document)
        instructions, returns_to = document
        if len(images) > len(instructions) + 1:
            raise RefusedError(
                "wrong count",
                f"{len(images)} images, but {len(instructions)} instructions: at most "
                "one image each, after the source",
            )
        instructions = instructions[:turns]
        answers = [images[n] for n in range(1, len(instructions) + 1) if n in images]
        if len(answers) < len(instructions):
            answers = []
        for name, data in (images[0], *answers):
            image_size(data, name)
    except RefusedError as error:
        return drop(key, origin, *error.args)
    files = tuple(root / name for name, _ in answers)
    return ValidationSession(
        key, images[0][1], instructions, files, returns_to[: len(instructions)]
    )
