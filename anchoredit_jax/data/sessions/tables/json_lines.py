"""Tables in JSON lines, their images in files beside them: `metadata.jsonl` and such.

Paths are relative to the table's folder, and stay inside. A chunk is a thousand lines.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from anchoredit_jax.data.sessions.raw import MAX_JSON_BYTES, RefusedError
from anchoredit_jax.data.sessions.tables.columns import IMAGES, Columns, value_at
from anchoredit_jax.data.sessions.tables.parts import ROWS, Chunk, TablePart
from anchoredit_jax.data.sessions.tables.pictures import paths_of

_LOOK = 100  # lines whose columns are taken together
_PIECE = 2**20


def look(path: str) -> list[str]:
    """The names that the first objects of a file have.

    Raises:
      RefusedError: the file cannot be read.
    """
    names: dict[str, None] = {}
    for number, (_, line) in enumerate(_lines(path, 0)):
        if number == _LOOK:
            break
        row = _parse(line)
        names.update(dict.fromkeys(row if isinstance(row, dict) else ()))
    return list(names)


def chunks(path: str, origin: str, name: str) -> list[Chunk]:
    """Chunks of `ROWS` lines; one without rows if the file cannot be read."""
    places, count = [0], 0
    try:
        for count, (place, _) in enumerate(_lines(path, 0), 1):
            if count > 1 and count % ROWS == 1:
                places.append(place)
    except RefusedError:
        count = 0
    return [
        Chunk(path, origin, name, place, 1 + n * ROWS, min(ROWS, count - n * ROWS))
        for n, place in enumerate(places)
    ]


def rows(
    chunk: Chunk, columns: Columns, also: Sequence[str], images: bool
) -> Iterator[Any]:
    """The objects of a chunk's lines, None for blank ones; see `parts.Table`.

    Raises:
      RefusedError: the file cannot be read.
    """
    del columns, also, images
    for number, (_, line) in enumerate(_lines(chunk.path, chunk.place)):
        if number and number >= chunk.rows:
            return
        yield _parse(line)


def stamp(chunk: Chunk, part: TablePart) -> list[Any]:
    """The lines that are read, and size and time of the images they name."""
    told: list[Any] = [chunk.origin, chunk.first]
    root, follow = Path(chunk.path).parent, part.links == "follow"
    images = [path for _, path in part.columns.only(*IMAGES).paths]
    try:
        for row in rows(chunk, part.columns, (), True):
            if not isinstance(row, dict):
                told.append(str(row))
                continue
            told.append(row)
            for path in images:
                told += [
                    _stat(root / name, follow) for name in paths_of(value_at(row, path))
                ]
    except RefusedError as error:
        told.append(str(error))
    return told


def _stat(path: Path, follow: bool) -> Any:
    try:
        found = os.stat(path, follow_symlinks=follow)
    except OSError as error:
        return error.errno
    except ValueError:  # no name of a file
        return None
    return found.st_size, found.st_mtime_ns


def _parse(line: bytes | None) -> Any:
    if line is None:
        return RefusedError("too large", f"over {MAX_JSON_BYTES} bytes in a line")
    if not line.strip():
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # also what is no Unicode
        return RefusedError("bad json", f"the line cannot be parsed: {error}")
    if not isinstance(row, dict):
        told = f"expected an object in the line, found a {type(row).__name__}"
        return RefusedError("bad json", told)
    return row


def _lines(path: str, place: int) -> Iterator[tuple[int, bytes | None]]:
    """(place, line) from a place on; None for a line that is too long."""
    try:
        with open(path, "rb") as file:
            file.seek(place)
            while line := file.readline(MAX_JSON_BYTES + 1):
                whole = len(line) <= MAX_JSON_BYTES or line.endswith(b"\n")
                yield place, line if whole else None
                if not whole:
                    _skip_line(file)
                place = file.tell()
    except OSError as error:
        raise RefusedError("unreadable", error.strerror) from error


def _skip_line(file: BinaryIO) -> None:
    while (piece := file.readline(_PIECE)) and not piece.endswith(b"\n"):
        pass
