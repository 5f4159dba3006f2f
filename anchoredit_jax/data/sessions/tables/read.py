"""Sessions of a part of tables, as the readers of all layouts give them."""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.data.sessions.raw import (
    MAX_SESSION_BYTES,
    Dropped,
    RawSession,
    RefusedError,
    drop,
    safe_name,
)
from anchoredit_jax.data.sessions.tables.columns import value_at
from anchoredit_jax.data.sessions.tables.gaps import sessions_of
from anchoredit_jax.data.sessions.tables.parts import (
    Chunk,
    Table,
    TablePart,
    hash_of,
    ids_of,
)
from anchoredit_jax.data.sessions.tables.pictures import Load, load_picture
from anchoredit_jax.data.sessions.tables.rows import (
    Turn,
    name_of,
    number_of,
    turns_of,
)

MAX_WAITING = 64 * 2**20  # bytes of sessions that wait for rows
Found = RawSession | Dropped


def read_table(
    part: TablePart, table: Table, languages: Sequence[str], max_image_bytes: int
) -> Iterator[Found]:
    """The sessions of a part, each when its last row came; what is wrong is `Dropped`.

    Args:
      table: the format's functions.
      languages: of the texts, see `raw.parse_document`.
      max_image_bytes: the largest image; a session with a larger one is dropped.
    """
    reader = _Reader(part, table, tuple(languages), max_image_bytes)
    for place, chunk in enumerate((*part.chunks, *part.ahead)):
        yield from reader.read(chunk, place >= len(part.chunks))
    yield from reader.leftovers()


@dataclasses.dataclass
class _Open:
    """A session that waits for rows."""

    key: str
    origin: str
    turns: list[tuple[int, Turn]] = dataclasses.field(default_factory=list)
    size: int = 0
    refused: RefusedError | None = None


class _Reader:
    """Reads the chunks of a part in order; holds the sessions that are not complete."""

    def __init__(
        self,
        part: TablePart,
        table: Table,
        languages: tuple[str, ...],
        max_image_bytes: int,
    ):
        self._part, self._table = part, table
        self._languages, self._limit = languages, max_image_bytes
        self._skip, self._scattered = set(part.skip), set(part.scattered)
        self._open: dict[int, _Open] = {}
        self._waiting = 0
        self._left: collections.Counter[int] = collections.Counter()
        if part.columns.by_turn:
            own: set[int] = set()
            for place, chunk in enumerate((*part.chunks, *part.ahead)):
                ids = ids_of(table, chunk, part.columns).tolist()
                if place < len(part.chunks):
                    own.update(ids)
                self._left.update(found for found in ids if found in own)

    def read(self, chunk: Chunk, ahead: bool) -> Iterator[Found]:
        """Yields what the rows of a chunk complete or spoil."""
        part, rows = self._part, iter(())
        number = chunk.first - 1
        also = [column for column, _ in part.reading.quality]
        try:
            rows = self._table.rows(chunk, part.columns, also, True)
            for number, row in enumerate(rows, chunk.first):
                name = f"{chunk.name}/{number}"
                if row is None:  # a blank line
                    continue
                if isinstance(row, RefusedError):
                    if not ahead:
                        yield drop(name, chunk.origin, *row.args)
                elif part.columns.by_turn:
                    yield from self._turn(chunk, name, row, ahead)
                else:
                    yield from self._session(chunk, name, row)
        except RefusedError as error:
            if not ahead:
                last = chunk.first + chunk.rows - 1
                where = f"rows {number + 1} to {last}" if chunk.rows else "the rest"
                where = where if number or chunk.rows else "all of it"
                reason, detail = error.args
                told = f"{chunk.origin!r}, {where}: {detail}"
                yield drop(chunk.name, chunk.origin, reason, told)

    def leftovers(self) -> Iterator[Found]:
        """Yields the sessions of which rows could not be read."""
        for session in self._open.values():
            yield drop(
                session.key,
                session.origin,
                *(
                    session.refused
                    or RefusedError("missing turn", "rows of it could not be read")
                ).args,
            )

    def _session(self, chunk: Chunk, name: str, row: Any) -> Iterator[Found]:
        """A row that is a session."""
        key = name
        try:
            fields = self._part.columns.pick(row)
            if fields.get("session") is not None:
                key = safe_name(name_of(fields["session"]))
            self._check_quality(row)
            turns = list(enumerate(turns_of(fields), 1))
        except RefusedError as error:
            yield drop(key, chunk.origin, *error.args)
            return
        yield from self._sessions(key, chunk, turns)

    def _turn(self, chunk: Chunk, name: str, row: Any, ahead: bool) -> Iterator[Found]:
        """A row that is a turn."""
        fields = self._part.columns.pick(row)
        found = hash_of(fields["session"])
        if found in self._skip or (ahead and found not in self._open):
            return
        session = self._open.get(found)
        if session is None:
            try:
                key = safe_name(name_of(fields["session"]))
            except RefusedError as error:
                reason, detail = error.args
                yield drop(name, chunk.origin, reason, f"{name}: {detail}")
                return
            session = self._open[found] = _Open(key, chunk.origin)
            if found in self._scattered:
                session.refused = _scattered("its rows lie too far apart")
        if session.refused is None:
            try:
                self._check_quality(row)
                number = number_of(fields["turn"])
                session.turns += [(number, turn) for turn in turns_of(fields)]
                self._wait(session, fields)
            except RefusedError as error:
                reason, detail = error.args
                session.refused = RefusedError(reason, f"{name}: {detail}")
                self._free(session)
        self._left[found] -= 1
        if self._left[found] <= 0 or found in self._scattered:
            yield from self._close(found, chunk)

    def _close(self, found: int, chunk: Chunk) -> Iterator[Found]:
        session = self._open.pop(found)
        if found in self._scattered:
            self._skip.add(found)
        self._waiting -= session.size
        if session.refused is not None:
            yield drop(session.key, session.origin, *session.refused.args)
        else:
            yield from self._sessions(session.key, chunk, session.turns)

    def _sessions(
        self, key: str, chunk: Chunk, turns: list[tuple[int, Turn]]
    ) -> Iterator[Found]:
        root = Path(chunk.path).parent if self._part.format == "jsonl" else None
        load: Load = functools.partial(
            load_picture,
            root=root,
            limit=self._limit,
            follow=self._part.links == "follow",
        )
        yield from sessions_of(
            key, chunk.origin, turns, load, self._languages, self._part.reading.on_gap
        )

    def _check_quality(self, row: Any) -> None:
        for column, least in self._part.reading.quality:
            value = value_at(row, column)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not value >= least:
                raise RefusedError(
                    "low quality",
                    f"its {column} is {value!r}, at least {least} is taken",
                )

    def _wait(self, session: _Open, fields: dict[str, Any]) -> None:
        """Keep memory bounded: refuse those that have waited longest."""
        size = sum(map(_size, fields.values()))
        session.size += size
        self._waiting += size
        if session.size > MAX_SESSION_BYTES:
            detail = f"over {MAX_SESSION_BYTES} bytes of images"
            raise RefusedError("too large", detail)
        for other in list(self._open.values()):
            if self._waiting <= MAX_WAITING or other is session:
                break
            if other.refused is None:
                other.refused = _scattered(
                    f"over {MAX_WAITING} bytes of sessions wait for their rest"
                )
                self._free(other)

    def _free(self, session: _Open) -> None:
        self._waiting -= session.size
        session.size = 0
        session.turns.clear()


def _scattered(detail: str) -> RefusedError:
    return RefusedError("scattered", f"{detail}: sort the table by session")


def _size(value: Any) -> int:
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0
