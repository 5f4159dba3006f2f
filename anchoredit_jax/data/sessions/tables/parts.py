"""Parts of tables: chunks of rows for one process, and the sessions that cross them.

A chunk is what a format reads by itself: a row group, a thousand lines, a shard. Rows
of one session may lie in several chunks and files. A part owns the sessions whose first
row lies in its chunks; for their rest it reads ahead, and it skips those that began
before. All this is found by reading the column of ids once.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from anchoredit_jax.choices import ON_GAP
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.sessions.raw import RefusedError
from anchoredit_jax.data.sessions.tables.columns import Columns, value_at
from anchoredit_jax.errors import UserError

ROWS = 1000  # of a part, unless one chunk has more
MAX_AHEAD = 16  # chunks that are read for the rest of a part's sessions
NO_ID = 0  # of rows that name no session


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a source is read.

    Attributes:
      format: "auto" or one of `choices.FORMATS`.
      columns: (role, column), see `columns.parse_columns`.
      on_gap: one of `choices.ON_GAP`.
      quality: (column, least value) of rows that are taken.
    """

    format: str = "auto"
    columns: tuple[tuple[str, str], ...] = ()
    on_gap: str = "split"
    quality: tuple[tuple[str, float], ...] = ()

    def __post_init__(self):
        if self.on_gap not in ON_GAP:
            raise UserError(
                f"on_gap must be {', '.join(ON_GAP)}, given {self.on_gap!r}"
            )


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows that lie together.

    Attributes:
      path: of the file.
      origin: the same, as the user wrote it.
      name: of the file, without what the files of a source share; rows are named by it.
      place: its row group, its first byte, or 0.
      first: the number of its first row in the file, from 1.
      rows: how many; 0 where the file cannot be read, which reading it will tell.
    """

    path: str
    origin: str
    name: str
    place: int
    first: int
    rows: int


@dataclasses.dataclass(frozen=True)
class TablePart:
    """What one process reads of tables.

    Attributes:
      format: one of the formats of tables.
      origin: the source, as the user wrote it.
      chunks: its own.
      columns, reading, links: how they are read; links as in `raw.Part`.
      ahead: chunks with the rest of its sessions.
      skip: hashes of sessions that began in an earlier part.
      scattered: hashes of sessions whose rest lies too far away.
    """

    format: str
    origin: str
    chunks: tuple[Chunk, ...]
    columns: Columns
    reading: Reading
    links: str = "follow"
    ahead: tuple[Chunk, ...] = ()
    skip: tuple[int, ...] = ()
    scattered: tuple[int, ...] = ()

    @property
    def paths(self) -> list[str]:
        """The files of its own chunks."""
        return list(dict.fromkeys(chunk.path for chunk in self.chunks))


class Table(Protocol):
    """What a format of tables gives: a module with these functions."""

    def look(self, path: str) -> list[str]:
        """The names of a file's columns."""
        ...

    def chunks(self, path: str, origin: str, name: str) -> list[Chunk]:
        """The chunks of a file."""
        ...

    def rows(
        self, chunk: Chunk, columns: Columns, also: Sequence[str], images: bool
    ) -> Iterator[Any]:
        """Per row what `Columns.pick` takes, or a `RefusedError`; may raise one.

        `also` are further columns; without `images` those of images may be left out.
        """
        ...

    def stamp(self, chunk: Chunk, part: TablePart) -> list[Any]:
        """What is different when the rows are."""
        ...


def hash_of(session: Any) -> int:
    """64 bits for an id of any kind; `NO_ID` for none."""
    return NO_ID if session is None else key_of("session", session) or 1


def ids_of(table: Table, chunk: Chunk, columns: Columns) -> np.ndarray:
    """The hash of the session of every row, uint64 [rows], as far as can be read."""
    found, path = [], dict(columns.paths)["session"]
    only = columns.only("session")
    try:
        for row in table.rows(chunk, only, (), False):
            bad = isinstance(row, RefusedError)
            found.append(NO_ID if bad else hash_of(value_at(row, path)))
    except RefusedError:
        pass  # told when the part is read
    return np.array(found, np.uint64)


def group(chunks: Sequence[Chunk]) -> list[list[Chunk]]:
    """Neighbours in one file, up to `ROWS` rows together."""
    groups: list[list[Chunk]] = []
    for chunk in chunks:
        if (
            groups
            and groups[-1][0].path == chunk.path
            and sum(other.rows for other in groups[-1]) + chunk.rows <= ROWS
        ):
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return groups


def join(table: Table, parts: list[TablePart]) -> list[TablePart]:
    """The parts, with what each must know of sessions that cross their borders."""
    if not parts or not parts[0].columns.by_turn:
        return parts
    chunks = [chunk for part in parts for chunk in part.chunks]
    owner = np.repeat(np.arange(len(parts)), [len(part.chunks) for part in parts])
    ids = [ids_of(table, chunk, parts[0].columns) for chunk in chunks]
    hashes = np.concatenate(ids)
    place = np.repeat(np.arange(len(chunks)), [len(some) for some in ids])
    known = hashes != NO_ID
    hashes, place = hashes[known], place[known]
    names, first, of = np.unique(hashes, return_index=True, return_inverse=True)
    last = np.zeros(len(names), np.int64)
    np.maximum.at(last, of, place)
    begin = owner[place[first]]  # the part that a session begins in
    ends = np.cumsum([len(part.chunks) for part in parts])
    far = last - ends[begin] >= MAX_AHEAD
    pairs = np.unique(np.stack([owner[place], of]), axis=1)  # (part, its sessions)
    late = pairs[:, begin[pairs[1]] < pairs[0]]
    joined = []
    for index, part in enumerate(parts):
        own = begin == index
        reach = int(last[own & ~far].max(initial=0)) + 1
        joined.append(
            dataclasses.replace(
                part,
                ahead=tuple(chunks[ends[index] : reach]),
                skip=tuple(names[late[1][late[0] == index]].tolist()),
                scattered=tuple(names[own & far].tolist()),
            )
        )
    return joined
