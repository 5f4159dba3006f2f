"""Raw editing sessions: what the readers yield, and the rules all layouts share.

A session is T = N + 1 images (the source, then one per turn) and N instructions. The
image files are kept as they are; each has been decoded once, whole, by the policy of
`anchoredit_jax.data.images`. What is wrong with a session never raises: it comes out
as a `Dropped` that says why.

Names: an image is `<id>.<n>.<ext>` or `<id>/frame_<n>.<ext>`, n = 0 .. N, and the
extension only marks it as an image, its content decides the format. The document is
`<id>.json`, or any `<id>/*.json` beside frames. Ids may hold dots, spaces, folders and
any script.

Documents: "instructions" is a list of N texts, or of N objects {language: text};
"edit_prompt", a list of texts, is read where there is none. Plain texts are of the
language "text". A language counts if every turn has a text of it; "" is an instruction
(the null one), a missing one is not.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence

from anchoredit_jax.data.colour import Tell, log
from anchoredit_jax.data.images import (
    MAX_ASPECT,
    MIN_SIDE,
    TooLargeError,
    decode_image,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.limits import LONGEST

PLAIN = "text"
ALL = "*"  # asked for as a language: every one that is there
MAX_JSON_BYTES = 16 * 2**20
MAX_IMAGE_BYTES = 64 * 2**20
MAX_SESSION_BYTES = 2**30

_MAX_NAME = 1024  # characters
_MAX_DETAIL = 400  # characters
_EXTENSION = r"\.(?:jpg|jpeg|png|webp)"
_FRAME = re.compile(r"frame_([0-9]{1,6})" + _EXTENSION, re.IGNORECASE)
_IMAGE = re.compile(r"(.+)\.([0-9]{1,6})" + _EXTENSION, re.IGNORECASE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class RawSession:
    """A session of which every file is there and sound.

    Attributes:
      key: its id: relative, without "..".
      origin: the shard or folder it comes from, as the user wrote it.
      images: T encoded files, by number.
      sizes: (height, width) of each image in pixels, orientation applied.
      instructions: language -> N texts, the complete languages among those asked for.
      notes: lines on what is not as it should be, and was read nevertheless.
      gaps: turns of it whose source was not the image before; see `tables.gaps`.
    """

    key: str
    origin: str
    images: tuple[bytes, ...]
    sizes: tuple[tuple[int, int], ...]
    instructions: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()
    gaps: int = 0


@dataclasses.dataclass(frozen=True)
class Dropped:
    """A session, file or shard that was left out.

    Attributes:
      key: the session's id, else the file's name, else the shard's.
      origin: the shard or folder, as the user wrote it.
      reason: a fixed category, see `REASONS`.
      detail: what was found, one line.
    """

    key: str
    origin: str
    reason: str
    detail: str


IGNORED = "ignored"  # of what is no part of a session and nothing lost
REASONS = (
    "bad json",
    "bad row",
    "damaged image",
    "damaged shard",
    "duplicate",
    "gap",
    IGNORED,
    "link",
    "low quality",
    "missing image",
    "missing json",
    "missing turn",
    "near duplicate",
    "no language",
    "scattered",
    "too large",
    "too little change",
    "too much change",
    "truncated shard",
    "unfit size",
    "unfit text",
    "unknown file",
    "unreadable",
    "unsafe name",
    "unwanted size",
    "wrong count",
)


@dataclasses.dataclass(frozen=True)
class Part:
    """What one process reads: one tar shard, or some of the folders below a root.

    Attributes:
      path: of the shard or the root.
      origin: the same, as the user wrote it.
      folders: names below the root, at their end those of files that lie beside the
        folders; None for a shard.
      links: one of `choices.LINKS`, of symbolic links in folders. Those in shards are
        refused.
    """

    path: str
    origin: str
    folders: tuple[str, ...] | None = None
    links: str = "follow"


@dataclasses.dataclass(frozen=True)
class Place:
    """Which file of which session a name stands for.

    Attributes:
      key: the session's id. A document named otherwise than its session has its own
        path here, and belongs to the session `folder` if that has frames.
      folder: the id that frames in the same folder have.
      number: the number of the image; None for a document.
      framed: whether it is named frame_<n>.
    """

    key: str
    folder: str
    number: int | None = None
    framed: bool = False


class RefusedError(Exception):
    """Why something is dropped: (reason, detail). Never leaves the readers."""


def drop(key: str, origin: str, reason: str, detail: object) -> Dropped:
    """A `Dropped` whose texts can be printed and whose detail is one line."""
    line = printable(" ".join(str(detail).split()))
    if len(line) > _MAX_DETAIL:
        line = line[: _MAX_DETAIL - 3] + "..."
    return Dropped(printable(key), printable(origin), reason, line)


def safe_name(name: str) -> str:
    """A member's name, relative and without "." parts; "" for the root itself.

    Raises:
      RefusedError: it is absolute, leads upwards, is no Unicode, or is too long.
    """
    if len(name) > _MAX_NAME:
        raise RefusedError("unsafe name", f"a name of {len(name)} characters")
    if name != printable(name):
        raise RefusedError("unsafe name", f"the name {name!r} is not UTF-8")
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", name):
        raise RefusedError("unsafe name", f"the path {name!r} is absolute")
    _check_inside(name)
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def parse_name(name: str) -> Place | None:
    """The place of a file by its name (see above); None if it is of no session.

    Raises:
      RefusedError: the id would lead upwards.
    """
    folder, _, base = name.rpartition("/")
    frame = _FRAME.fullmatch(base) if folder else None
    named = folder.rpartition("/")[2] if frame else base
    if named.startswith("._"):  # the shadow files of another system's archiver
        return None
    if frame:
        return Place(folder, folder, int(frame[1]), framed=True)
    if found := _IMAGE.fullmatch(base):
        key = name[: len(name) - len(base) + len(found[1])]
        _check_inside(key)
        return Place(key, folder, int(found[2]))
    if base.lower().endswith(".json") and len(base) > len(".json"):
        key = name[: -len(".json")]
        _check_inside(key)
        return Place(key, folder)
    return None


def _check_inside(path: str) -> None:
    if ".." in re.split(r"[/\\]", path):
        raise RefusedError("unsafe name", f"the path {path!r} leads out of its folder")


def parse_document(data: bytes, languages: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """A document's instructions: language -> N texts.

    Args:
      data: the JSON file.
      languages: those asked for; `PLAIN` always is.

    Raises:
      RefusedError: it is no such document, or no language is complete.
    """
    found = _turns(load_document(data))
    if not found:
        raise RefusedError("wrong count", "the document has no instructions")
    return complete_texts(found, languages, range(1, len(found) + 1))


def complete_texts(
    found: Sequence[object], languages: Sequence[str], numbers: Sequence[int]
) -> dict[str, tuple[str, ...]]:
    """The languages that every turn has a text of: language -> N texts.

    Args:
      found: per turn, a text or an object {language: text}.
      languages: those asked for; `PLAIN` always is. `ALL`: all that are there.
      numbers: of the turns, for errors.

    Raises:
      RefusedError: no language is complete.
    """
    turns = [_texts(turn) for turn in found]
    there = [language for texts in turns for language in texts]
    asked = [*there, PLAIN] if ALL in languages else [*languages, PLAIN]
    asked = tuple(dict.fromkeys(asked))
    lacking = {}
    for language in asked:
        missing = (n for n, texts in enumerate(turns) if language not in texts)
        lacking[language] = next(missing, None)
    complete = [language for language in asked if lacking[language] is None]
    if not complete:
        raise RefusedError(
            "no language",
            f"of {len(turns)} turns, "
            + ", ".join(
                f"turn {numbers[n]} has no {name!r}" + _why(found[n], name)
                for name, n in lacking.items()
            ),
        )
    return {name: tuple(texts[name] for texts in turns) for name in complete}


def build_session(
    key: str,
    origin: str,
    images: Mapping[int, tuple[str, bytes]],
    instructions: Mapping[str, tuple[str, ...]] | None,
) -> RawSession | Dropped:
    """A session of its files, if they are complete and sound.

    Args:
      images: number -> (file name, content).
      instructions: of `parse_document`; None if no document was found.
    """
    try:
        check_found(images, instructions)
        turns = len(next(iter(instructions.values())))
        if len(images) != turns + 1:
            raise RefusedError(
                "wrong count",
                f"{turns} instructions need {turns + 1} images, found {len(images)}",
            )
        ordered = [images[number] for number in range(len(images))]
        notes: list[str] = []
        sizes = tuple(image_size(data, name, notes.append) for name, data in ordered)
    except RefusedError as error:
        return drop(key, origin, *error.args)
    files = tuple(data for _, data in ordered)
    told = tuple(map(printable, notes))
    return RawSession(key, origin, files, sizes, dict(instructions), told)


def check_found(images: Mapping[int, object], document: object) -> None:
    """Refuse a session without images up to the last one, or without a document.

    Raises:
      RefusedError: there is no image, one is missing, or `document` is None.
    """
    if not images:
        raise RefusedError("missing image", "no image of it was found")
    gap = next(number for number in range(len(images) + 1) if number not in images)
    if gap < len(images):
        raise RefusedError(
            "missing image", f"no image {gap}, but an image {max(images)}"
        )
    if document is None:
        raise RefusedError(
            "missing json", f"{len(images)} images, but no .json with instructions"
        )


def image_size(data: bytes, name: str, tell: Tell = log.warning) -> tuple[int, int]:
    """(height, width) of an image after decoding all of it.

    Args:
      tell: see `decode_image`.

    Raises:
      RefusedError: it is damaged, too large, too small or a strip.
    """
    try:
        height, width = decode_image(data, name=name, tell=tell).shape[:2]
    except TooLargeError as error:
        raise RefusedError("too large", error) from error
    except UserError as error:
        raise RefusedError("damaged image", error) from error
    short, long = sorted((height, width))
    if short < MIN_SIDE or long > MAX_ASPECT * short:
        raise RefusedError(
            "unfit size",
            f"image {name!r} is {width} x {height} pixels: sides must be at least "
            f"{MIN_SIDE}, one at most {MAX_ASPECT} times the other",
        )
    return height, width


def load_document(data: bytes) -> dict:
    """The object in a JSON file.

    Raises:
      RefusedError: it is no JSON, or no object.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:  # also what is no Unicode
        raise RefusedError("bad json", f"it cannot be parsed: {error}") from error
    if not isinstance(document, dict):
        raise RefusedError(
            "bad json", f"expected an object, found a {type(document).__name__}"
        )
    return document


def _turns(document: dict) -> list:
    turns = document.get("instructions")
    name = "edit_prompt" if turns is None else "instructions"
    turns = document.get("edit_prompt") if turns is None else turns
    if not isinstance(turns, list):
        raise RefusedError(
            "bad json",
            f"expected a list of {name!r}, found a {type(turns).__name__}"
            if turns is not None
            else "it has neither 'instructions' nor 'edit_prompt'",
        )
    return turns


def _texts(turn: object) -> dict[str, str]:
    """The texts of a turn by language, without what is no text."""
    texts = turn if isinstance(turn, dict) else {PLAIN: turn}
    return {
        language: text if text.strip() else ""
        for language, text in texts.items()
        if isinstance(text, str) and not _unfit(text)
    }


def _unfit(text: str) -> str:
    """Why a text is none that an encoder takes; "" if it is one."""
    if text != printable(text):
        return "that is Unicode"
    return f"of at most {LONGEST} characters" if len(text) > LONGEST else ""


def _why(turn: object, language: str) -> str:
    """What is wrong with a text that is there."""
    text = turn.get(language) if isinstance(turn, dict) else turn
    return f" {_unfit(text)}" if isinstance(text, str) and _unfit(text) else ""


def printable(text: str) -> str:
    """The text with lone surrogates, which no encoding has, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
