"""Tables in tar shards: files of one key, up to the first dot, are a row's fields.

`0001.source.jpg`, `0001.target.jpg` and `0001.instruction.txt` are the row "0001" with
the columns "source", "target" and "instruction"; `0001.json` adds what its object
holds. A chunk is a shard, read front to back.
"""

import itertools
import re
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from anchoredit_jax.data.sessions.layouts import is_ignored
from anchoredit_jax.data.sessions.raw import (
    MAX_IMAGE_BYTES,
    MAX_JSON_BYTES,
    RefusedError,
    load_document,
    safe_name,
)
from anchoredit_jax.data.sessions.tables.columns import Columns
from anchoredit_jax.data.sessions.tables.parquet import stamp
from anchoredit_jax.data.sessions.tables.parts import Chunk
from anchoredit_jax.data.sessions.tar_members import (
    is_plain,
    read_content,
    tar_members,
)

__all__ = ["chunks", "look", "rows", "stamp"]

KEY = "__key__"
_LOOK = 20  # rows whose columns are taken together
_MAX_FIELDS = 64
_IMAGE = re.compile(r"(?:(.+)\.)?(jpg|jpeg|png|webp)", re.IGNORECASE)
_TEXT = re.compile(r"(?:(.+)\.)?txt", re.IGNORECASE)


def look(path: str) -> list[str]:
    """The names of the fields of the first rows.

    Raises:
      RefusedError: it is no tar file, or not one row of it can be read.
    """
    names: dict[str, None] = {}
    try:
        for row in itertools.islice(_samples(path), _LOOK):
            names.update(dict.fromkeys(row if isinstance(row, dict) else ()))
    except RefusedError:
        if not names:
            raise
    return list(names)


def chunks(path: str, origin: str, name: str) -> list[Chunk]:
    """The shard; how many rows it has is not known."""
    return [Chunk(path, origin, name, 0, 1, 0)]


def rows(
    chunk: Chunk, columns: Columns, also: Sequence[str], images: bool
) -> Iterator[Any]:
    """The rows of a shard, see `parts.Table`.

    Raises:
      RefusedError: the shard is damaged, from there on.
    """
    del columns, also, images
    return _samples(chunk.path)


def _samples(path: str) -> Iterator[Any]:
    """Rows, or `RefusedError`; raises one at the end of a damaged shard."""
    try:
        file = open(path, "rb")
    except OSError as error:
        raise RefusedError("unreadable", error.strerror) from error
    row: dict[str, Any] = {}
    wrong = end = None
    with file:
        members = tar_members(file)
        while True:
            place = None
            try:
                member = next(members, None)
            except RefusedError as error:
                member, end = None, error
            if member is not None:
                try:
                    place = None if member.isdir() else _place(member.name)
                except RefusedError as error:
                    yield error
                if place is None:
                    continue
            if row and (place is None or row[KEY] != place[0]):
                yield wrong or row
                row, wrong = {}, None
            if member is None or place is None:
                break
            row.setdefault(KEY, place[0])
            try:
                _add(row, place[1], member, file)
            except RefusedError as error:
                reason, detail = error.args
                wrong = RefusedError(reason, f"{member.name!r}: {detail}")
    if end is not None:
        raise end


def _place(name: str) -> tuple[str, str] | None:
    """(key, field) of a member; None if it is another system's."""
    name = safe_name(name)
    if is_ignored(name):
        return None
    folder, _, base = name.rpartition("/")
    stem, _, field = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), field


def _add(
    row: dict[str, Any], field: str, member: tarfile.TarInfo, file: BinaryIO
) -> None:
    """A member as a field of its row; others than images, texts and JSON are left."""
    image, text = _IMAGE.fullmatch(field), _TEXT.fullmatch(field)
    if not (image or text or field.lower() == "json"):
        return
    limit = MAX_IMAGE_BYTES if image else MAX_JSON_BYTES
    if not is_plain(member):
        raise RefusedError("link", "it is no ordinary file")
    if member.size > limit or len(row) > _MAX_FIELDS:
        detail = f"{member.size} bytes, at most {limit} are read"
        raise RefusedError("too large", detail)
    data = read_content(file, member.size)
    if not (image or text):
        row.update({**load_document(data), **row})
        return
    try:
        value = data if image else data.decode().strip()
    except UnicodeDecodeError as error:
        raise RefusedError("bad row", f"its text is no UTF-8: {error}") from error
    name = (image or text)[1] or ("image" if image else "txt")
    if isinstance(row.get(name), bytes):
        raise RefusedError("duplicate", f"the row has {name!r} already")
    row[name] = value
