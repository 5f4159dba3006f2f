"""A row of a table as turns: what its columns hold, whichever way they hold it."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from anchoredit_jax.data.sessions.raw import PLAIN, RefusedError

_SOURCE = re.compile(r"original|source|input", re.IGNORECASE)
_FINAL = re.compile(r"final|last", re.IGNORECASE)
_NUMBER = re.compile(r"([0-9]{1,6})$")
_PATH_FIELDS = ("path", "file", "file_name", "url")
MAX_NUMBER = 10**6


@dataclasses.dataclass(frozen=True)
class Turn:
    """One edit, its images as the table has them; see `pictures`.

    Attributes:
      source: of None it is the target of the turn before.
      target: the result.
      texts: form ("text", a language, "short") -> the instruction, if it is one.
    """

    source: Any
    target: Any
    texts: Mapping[str, Any]


def turns_of(row: Mapping[str, Any]) -> tuple[Turn, ...]:
    """The turns of a row, by roles; see `columns`.

    Raises:
      RefusedError: its lists do not fit each other, or hold something else.
    """
    texts = _texts(row)
    count = len(texts)
    sources, targets = _images(row, count)
    return tuple(map(Turn, sources, targets, texts))


def number_of(value: Any) -> int:
    """A turn's number: a whole number, or a text of digits.

    Raises:
      RefusedError: it is anything else.
    """
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,7}\s*", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise RefusedError("bad row", f"its turn number is {_shown(value)}")
    return value


def name_of(value: Any) -> str:
    """A session's id: a text, or a whole number.

    Raises:
      RefusedError: it is anything else, or empty.
    """
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise RefusedError("bad row", f"its session id is {_shown(value)}")
    return value


def _texts(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per turn, form -> text."""
    forms = {
        role.partition(".")[2] or PLAIN: value
        for role, value in row.items()
        if role.partition(".")[0] == "instruction" and value is not None
    }
    if not forms:
        raise RefusedError("bad row", "it has no instruction")
    lists = {form: _listed(value) for form, value in forms.items()}
    count = len(next(iter(lists.values())))
    for form, listed in lists.items():
        if len(listed) != count:
            raise RefusedError(
                "wrong count",
                f"{count} instructions, but {len(listed)} of the form {form!r}",
            )
    if not count:
        raise RefusedError("wrong count", "its list of instructions is empty")
    turns: list[dict[str, Any]] = [{} for _ in range(count)]
    for form, listed in lists.items():
        for turn, text in zip(turns, listed, strict=True):
            turn.update(text if isinstance(text, Mapping) else {form: text})
    return turns


def _images(row: Mapping[str, Any], count: int) -> tuple[list[Any], list[Any]]:
    """Sources and targets, one each a turn."""
    source, target = row.get("source"), row.get("target")
    if row.get("files") is not None:
        found, target = _named(row["files"])
        source = found if source is None else source
    if row.get("images") is not None:
        images = _listed(row["images"])
        if source is not None:
            raise RefusedError("duplicate", "it has two sources: a list, and one more")
        source, target = (images[0] if images else None), images[1:]
    single = target is None and count == 1  # told as missing when it is loaded
    targets = [None] if single else _listed(target)
    if len(targets) != count:
        raise RefusedError(
            "wrong count", f"{count} instructions, but {len(targets)} target images"
        )
    if _is_list(source):
        if len(source) != count:
            raise RefusedError(
                "wrong count", f"{count} instructions, but {len(source)} source images"
            )
        return list(source), targets
    return [source, *[None] * (count - 1)], targets


def _named(files: Any) -> tuple[Any, list[Any]]:
    """Source and targets of a list of {id, path or url}."""
    source, final, turns = None, None, {}
    for file in _listed(files):
        name = file.get("id") if isinstance(file, Mapping) else None
        if not isinstance(name, str):
            raise RefusedError("bad row", f"a file without an id: {_shown(file)}")
        path = next((file[f] for f in _PATH_FIELDS if file.get(f) is not None), None)
        number = _NUMBER.search(name)
        place = "source" if _SOURCE.search(name) else "final"
        if number and place != "source":
            place = int(number[1])
        elif place == "final" and not _FINAL.search(name):
            raise RefusedError("bad row", f"a file of the unknown id {name!r}")
        taken = {"source": source, "final": final}.get(place, turns.get(place))
        if taken is not None:
            raise RefusedError("duplicate", f"two files are the {place} ({name!r})")
        if place == "source":
            source = path
        elif place == "final":
            final = path
        else:
            turns[place] = path
    last = [] if final is None else [final]
    return source, [*(turns[number] for number in sorted(turns)), *last]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if _is_list(value) else [value]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}.."
