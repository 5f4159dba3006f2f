"""Tables in parquet files, as Hugging Face datasets store them; needs `pyarrow`.

A chunk is a row group. Its rows come in batches of a few megabytes, of the columns that
are read alone: what a file or a row group measures does not matter.
"""

import functools
import importlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from anchoredit_jax.data.sessions.raw import (
    MAX_IMAGE_BYTES,
    MAX_JSON_BYTES,
    MAX_SESSION_BYTES,
    RefusedError,
)
from anchoredit_jax.data.sessions.tables.columns import IMAGES, Columns
from anchoredit_jax.data.sessions.tables.pages import check_pages
from anchoredit_jax.data.sessions.tables.parts import Chunk, TablePart
from anchoredit_jax.errors import UserError

_BATCH = 4 * 2**20  # bytes of rows that are in memory at once
_BUFFER = 2**18  # bytes that are read ahead of a column


def look(path: str) -> list[str]:
    """The names of a file's columns.

    Raises:
      UserError: pyarrow is not installed.
      RefusedError: it is no parquet file, or damaged.
    """
    with _opened(path) as file:
        return file.schema_arrow.names


def chunks(path: str, origin: str, name: str) -> list[Chunk]:
    """The row groups of a file; one without rows if it cannot be read."""
    try:
        with _opened(path) as file:
            groups = range(file.num_row_groups)
            counts = [file.metadata.row_group(group).num_rows for group in groups]
    except RefusedError:
        counts = [0]
    firsts = [1 + sum(counts[:group]) for group in range(len(counts))]
    return [
        Chunk(path, origin, name, group, first, rows)
        for group, (first, rows) in enumerate(zip(firsts, counts, strict=True))
    ]


def rows(
    chunk: Chunk, columns: Columns, also: Sequence[str], images: bool
) -> Iterator[Any]:
    """The rows of a row group, see `parts.Table`.

    Raises:
      RefusedError: it is damaged, lacks a column, or holds a value that is too large.
    """
    del images  # only what `columns` name is read
    with _opened(chunk.path) as file:
        names = file.schema_arrow.names
        tops = columns.tops(names, also)
        for role, path in columns.paths:
            if not columns.only(role).tops(names):
                raise RefusedError("bad row", f"it has no column {path!r} ({role})")
        group = file.metadata.row_group(chunk.place)
        used = [group.column(index) for index in range(group.num_columns)]
        used = [column for column in used if _top(column) in tops]
        images = set(columns.only(*IMAGES).tops(names))
        pictures = [column for column in used if _top(column) in images]
        texts = [column for column in used if _top(column) not in images]
        check_pages(chunk.path, pictures, MAX_IMAGE_BYTES, MAX_SESSION_BYTES)
        check_pages(chunk.path, texts, MAX_JSON_BYTES, MAX_JSON_BYTES)
        each = sum(column.total_uncompressed_size for column in used)
        size = _BATCH * group.num_rows // max(each, 1)
        batches = file.iter_batches(
            min(max(size, 1), 1024), [chunk.place], columns=tops, use_threads=False
        )
        while (batch := _next(batches)) is not None:
            held = dict(zip(batch.schema.names, batch.columns, strict=True))
            for index in range(batch.num_rows):
                try:
                    yield {name: held[name][index].as_py() for name in tops}
                except (ValueError, OverflowError) as error:  # texts that are no UTF-8
                    yield RefusedError("bad row", f"it cannot be read: {error}")


def stamp(chunk: Chunk, part: TablePart) -> list[Any]:
    """Size and time of the file, and the row group's number."""
    del part
    try:
        found = os.stat(chunk.path)
    except OSError as error:
        return [chunk.origin, error.errno]
    return [chunk.origin, found.st_size, found.st_mtime_ns, chunk.place]


def _top(column: Any) -> str:
    return column.path_in_schema.split(".")[0]


def _next(batches: Iterator[Any]) -> Any:
    try:
        return next(batches, None)
    except _damage() as error:
        raise _damaged(error) from error


def _opened(path: str) -> Any:
    try:
        return _library("parquet").ParquetFile(
            path, buffer_size=_BUFFER, pre_buffer=False
        )
    except OSError as error:
        if error.strerror:
            raise RefusedError("unreadable", error.strerror) from error
        raise _damaged(error) from error
    except _damage() as error:
        raise _damaged(error) from error


def _damaged(error: BaseException) -> RefusedError:
    return RefusedError("damaged shard", f"it is no sound parquet file ({error})")


def _damage() -> tuple[type[BaseException], ...]:
    """What pyarrow raises on damaged files."""
    return (_library("lib").ArrowException, OSError, ValueError, MemoryError)


@functools.cache
def _library(name: str) -> Any:
    try:
        return importlib.import_module(f"pyarrow.{name}")
    except ImportError as error:
        raise UserError(
            "parquet files need pyarrow: pip install 'anchoredit_jax[parquet]'"
        ) from error
