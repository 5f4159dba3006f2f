"""Any source of sessions: which format it has, its parts, and what each of them holds.

Formats: "sessions" is our own layout, in folders or tar shards (see `folders`); the
others are tables, of which a row is a turn, a session, or a pair (a session of one
turn): "parquet", "jsonl" (images in files beside it), and "webdataset" (tar shards).
"""

import dataclasses
import glob
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from anchoredit_jax.choices import FORMATS, LINKS
from anchoredit_jax.data.sessions import folders
from anchoredit_jax.data.sessions.layouts import is_ignored
from anchoredit_jax.data.sessions.raw import (
    MAX_IMAGE_BYTES,
    Dropped,
    Part,
    RawSession,
    RefusedError,
    parse_name,
)
from anchoredit_jax.data.sessions.tables import json_lines, parquet, webdataset
from anchoredit_jax.data.sessions.tables.columns import Columns, choose_columns
from anchoredit_jax.data.sessions.tables.parts import (
    Chunk,
    Reading,
    Table,
    TablePart,
    group,
    join,
)
from anchoredit_jax.data.sessions.tables.read import read_table
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import sha256

TABLES: dict[str, Table] = {
    "parquet": parquet,
    "jsonl": json_lines,
    "webdataset": webdataset,
}
READER = 1  # raised when the same tables are read as other sessions
_ENDINGS = {"parquet": ".parquet", "jsonl": ".jsonl", "webdataset": ".tar"}
_SHARDS = 3  # whose columns are looked at


@dataclasses.dataclass(frozen=True)
class Source:
    """What is read.

    Attributes:
      format: one of `FORMATS`.
      told: a line on it: the format, and how the columns are understood.
      parts: for `read_part`, always in the same order.
    """

    format: str
    told: str
    parts: Sequence[Part | TablePart]


def open_source(
    source: str | Path, reading: Reading | None = None, links: str = "follow"
) -> Source:
    """The parts of a source of any format.

    Args:
      source: a file, a folder, or a pattern such as "data/train-*.parquet".
      reading: how; by default the format and the columns are found by looking.
      links: see `Part`.

    Raises:
      UserError: there is nothing, of no known format or of several, a column that must
        be has no known name, or an option does not belong to the format.
    """
    reading = reading or Reading()
    if reading.format not in ("auto", *FORMATS):
        raise UserError(
            f"--format must be auto, {', '.join(FORMATS)}; given {reading.format!r}"
        )
    if links not in LINKS:
        raise UserError(f"links must be {' or '.join(LINKS)}, given {links!r}")
    try:
        found = reading.format
        if found == "auto":
            found = _look(Path(source))
        if found == "sessions":
            return _own(source, reading, links)
        return _tables(source, found, reading, links)
    except OSError as error:
        raise UserError(
            f"sessions {str(source)!r} cannot be read: {error.strerror}"
        ) from error


def read_part(
    part: Part | TablePart,
    languages: Sequence[str] = ("en",),
    max_image_bytes: int = MAX_IMAGE_BYTES,
) -> Iterator[RawSession | Dropped]:
    """Sessions of a part in the order of its rows or files; else why not.

    Args:
      part: one of a source's.
      languages: those wanted; plain texts ("text") are always taken.
      max_image_bytes: the largest image; a session with a larger one is dropped.

    Raises:
      UserError: the shard or the root is gone, or a setting is of the wrong kind.
    """
    if isinstance(part, Part):
        return folders.read_part(part, languages, max_image_bytes)
    if isinstance(languages, str):
        raise UserError(f'languages must be a list, such as ["{languages}"]')
    return read_table(part, TABLES[part.format], languages, max_image_bytes)


def fingerprint_part(part: Part | TablePart) -> str:
    """A digest that is another when what a part reads has changed.

    Of files it takes names, sizes and times; of JSON lines also the lines themselves.

    Raises:
      UserError: a shard of sessions is gone.
    """
    if isinstance(part, Part):
        return folders.fingerprint_part(part)
    table = TABLES[part.format]
    told = [
        *(READER, part.format, part.columns.paths, part.links, part.skip),
        *(part.scattered, part.reading.on_gap, part.reading.quality),
        [table.stamp(chunk, part) for chunk in (*part.chunks, *part.ahead)],
    ]
    return sha256(json.dumps(told).encode(), digits=16)


def _own(source: str | Path, reading: Reading, links: str) -> Source:
    given = [
        name
        for name, value in (
            ("--columns", reading.columns),
            ("--min-quality", reading.quality),
            ("--on-gap", reading.on_gap != Reading().on_gap),
        )
        if value
    ]
    if given:
        raise UserError(
            f"{given[0]} is of tables ({', '.join(TABLES)}); {str(source)!r} is read "
            "as folders or shards of sessions: see --format"
        )
    told = f"format: sessions, a folder or files <id>.0.jpg, .. each, in {source}"
    return Source("sessions", told, folders.list_parts(source, links=links))


def _tables(source: str | Path, kind: str, reading: Reading, links: str) -> Source:
    table, files = TABLES[kind], _files(source, _ENDINGS[kind])
    columns = _columns(table, files, reading, str(source))
    names = _names(files)
    chunks = [
        chunk
        for path, name in zip(files, names, strict=True)
        for chunk in table.chunks(path, path, name)
    ]
    parts = [_part(kind, some, columns, reading, links) for some in group(chunks)]
    told = f"format: {kind}, {columns.describe()}"
    return Source(kind, told, join(table, parts))


def _part(
    kind: str, chunks: Sequence[Chunk], columns: Columns, reading: Reading, links: str
) -> TablePart:
    origin = chunks[0].origin
    return TablePart(kind, origin, tuple(chunks), columns, reading, links)


def _columns(
    table: Table, files: Sequence[str], reading: Reading, source: str
) -> Columns:
    """Of the first files that can be read."""
    names: dict[str, None] = {}
    why, looked = None, 0
    for path in files:
        try:
            names.update(dict.fromkeys(table.look(path)))
            looked += 1
        except RefusedError as error:
            why = why or f"{path!r}: {error.args[1]}"
        if looked == _SHARDS:
            break
    if not names:
        raise UserError(
            f"no table in {source!r} can be read" + (f"; {why}" if why else ": no rows")
        )
    return choose_columns(list(names), reading.columns, repr(source))


def _files(source: str | Path, ending: str) -> list[str]:
    """The files of an ending in a folder (and in its "data"), or of a pattern."""
    path = Path(source)
    if path.is_file():
        return [str(source)]
    if path.is_dir():
        found = _ending(path, ending) or _ending(path / "data", ending)
    else:
        found = sorted(name for name in glob.glob(str(source)) if Path(name).is_file())
    if not found:
        raise UserError(
            f"{str(source)!r} holds no file *{ending}: give a folder that does, a "
            "file, or a pattern in quotes"
        )
    return found


def _ending(folder: Path, ending: str) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        str(path)
        for path in folder.iterdir()
        if path.name.lower().endswith(ending)
        and not is_ignored(path.name)
        and path.is_file()
    )


def _names(files: Sequence[str]) -> list[str]:
    """What rows of a file without ids are named by: unlike for every file."""
    stems = [PurePath(path).stem for path in files]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{PurePath(path).parent.name}/{PurePath(path).stem}" for path in files]


def _look(path: Path) -> str:
    """The format of a source, by its names; of tar shards by what is in the first."""
    if path.is_dir():
        names, folder = _within(path)
        names += [Path(name).name for name in _ending(path / "data", ".parquet")]
        if folder is not None and _is_session(path / folder):
            return "sessions"
    elif path.exists():
        names = [path.name]
    else:
        names = [Path(name).name for name in glob.glob(str(path))]
    names = [name.lower() for name in names if not is_ignored(name)]
    found = [kind for kind, ending in _ENDINGS.items() if _any(names, ending)]
    if not found:
        return "sessions"
    if len(found) > 1:
        raise UserError(
            f"{str(path)!r} holds several kinds of data: choose one by --format "
            + " or ".join(found)
        )
    if found == ["webdataset"]:
        first = _files(path, ".tar")[0]
        return "webdataset" if _is_rows(first) else "sessions"
    return found[0]


def _any(names: Iterable[str], ending: str) -> bool:
    return any(name.endswith(ending) for name in names)


def _within(root: Path) -> tuple[list[str], str | None]:
    """The files of a folder, and its first folder; none of them is looked at."""
    files, first = [], None
    with os.scandir(root) as entries:
        for entry in entries:
            kind = folders.kind_of(entry)
            if kind == "file":
                files.append(entry.name)
            elif kind == "folder" and not is_ignored(entry.name):
                first = min(first or entry.name, entry.name)
    return files, first


def _is_session(folder: Path) -> bool:
    """Whether a folder is a session of ours, as far as it can be read."""
    try:
        names = [f"{folder.name}/{name}" for name in os.listdir(folder)]
        places = [parse_name(name) for name in names if not is_ignored(name)]
    except (OSError, RefusedError):  # told when it is read
        return False
    return any(place and place.number == 0 for place in places)


def _is_rows(path: str) -> bool:
    """Whether a shard's files are the fields of rows, and not sessions of ours."""
    try:
        names = webdataset.look(path)
        choose_columns(names, (), path)
    except (RefusedError, UserError):
        return False
    return True
