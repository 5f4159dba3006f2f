"""The sizes of a parquet file's pages, read from their headers before any is loaded.

A reader of parquet loads a page whole, and a page holds a whole value however large it
is: a text or an image of 2 GB would be in memory before it could be refused. Headers
are Thrift structs in the compact protocol, of which a few numbers are wanted here.
"""

from collections.abc import Sequence
from typing import Any, BinaryIO

from anchoredit_jax.data.sessions.raw import RefusedError

_HEADER = 2**16  # bytes of one header, statistics and all
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of a page header
_KINDS, _VALUES = (5, 7, 8), 1  # structs of its kinds, each with a count of values
_DAMAGE = (IndexError, KeyError, OSError, RecursionError)


def check_pages(path: str, columns: Sequence[Any], limit: int, most: int) -> None:
    """Refuse column chunks with a page that no sound value of ours needs.

    A page, above all a dictionary, may hold many values: it is their mean that is
    compared, and there is a bound for all of them.

    Args:
      columns: `ColumnChunkMetaData` of pyarrow.
      limit: bytes of the largest value.
      most: bytes of the largest page.

    Raises:
      RefusedError: a page is larger, or the headers are damaged.
    """
    with open(path, "rb") as file:
        for column in columns:
            if column.total_uncompressed_size <= min(limit, most):
                continue  # nor is any of its pages
            place = column.data_page_offset
            if column.has_dictionary_page:
                place = min(place, column.dictionary_page_offset)
            end = place + column.total_compressed_size
            while place < end:
                try:
                    size, whole, step = _read_header(file, place)
                except _DAMAGE as error:
                    detail = f"a page of {column.path_in_schema!r} has a damaged header"
                    raise RefusedError("damaged shard", detail) from error
                if size > limit or whole > most:
                    raise RefusedError(
                        "too large",
                        f"a page of {column.path_in_schema!r} has {whole} bytes, at "
                        f"most {limit} a value and {most} together are read",
                    )
                place += step


def _read_header(file: BinaryIO, place: int) -> tuple[int, int, int]:
    """(bytes of a value at least, bytes of the page, bytes to the next header)."""
    file.seek(place)
    header, length = _struct(file.read(_HEADER), 0)
    size, held = header[_UNCOMPRESSED], header[_COMPRESSED]
    if size < 0 or held < 0:
        raise KeyError("a negative size")
    values = max(header.get(kind, {}).get(_VALUES, 1) for kind in _KINDS)
    return size // max(values, 1), size, length + held


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """(field -> number or struct; where the struct ends) of one that begins at `at`."""
    fields: dict[int, Any] = {}
    field = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _integer(data, at)
        kind = head & 15
        if kind in (4, 5, 6):  # of 16, 32 and 64 bits
            fields[field], at = _integer(data, at)
        elif kind == 12:
            fields[field], at = _struct(data, at)
        elif kind == 8:  # bytes
            length, at = _varint(data, at)
            at += length
        elif kind not in (1, 2):  # true and false lie in the head
            raise KeyError(f"no page header has a field of kind {kind}")
    return fields, at + 1


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
