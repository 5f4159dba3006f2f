"""The sizes of a parquet file's pages, read from their headers before any is loaded.

A reader of parquet loads a page whole, and a page holds a whole value however large it
is: a text or an image of 2 GB would be in memory before it could be refused. Headers
are Thrift structs in the compact protocol, of which the two sizes are wanted here.
"""

from collections.abc import Sequence
from typing import Any, BinaryIO

from anchoredit_jax.data.sessions.raw import RefusedError

_HEADER = 2**16  # bytes of one header, statistics and all
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of a page header
_NUMBERS = (4, 5, 6)  # i16, i32, i64: varints


def check_pages(path: str, columns: Sequence[Any], limit: int) -> None:
    """Refuse column chunks with a page that no sound value of ours needs.

    Args:
      columns: `ColumnChunkMetaData` of pyarrow.
      limit: bytes of the largest value.

    Raises:
      RefusedError: a page is larger, or the headers are damaged.
    """
    with open(path, "rb") as file:
        for column in columns:
            if column.total_uncompressed_size <= limit:
                continue  # nor is any of its pages
            place = column.data_page_offset
            if column.has_dictionary_page:
                place = min(place, column.dictionary_page_offset)
            end = place + column.total_compressed_size
            while place < end:
                try:
                    size, held, length = _read_header(file, place)
                except (IndexError, KeyError, OSError) as error:
                    detail = f"a page of {column.path_in_schema!r} has a damaged header"
                    raise RefusedError("damaged shard", detail) from error
                if size > limit:
                    raise RefusedError(
                        "too large",
                        f"a value of {column.path_in_schema!r} has about {size} bytes, "
                        f"at most {limit} are read",
                    )
                place += length + held


def _read_header(file: BinaryIO, place: int) -> tuple[int, int, int]:
    """(uncompressed bytes, compressed bytes, bytes of the header) of a page."""
    file.seek(place)
    data, at, field = file.read(_HEADER), 0, 0
    sizes: dict[int, int] = {}
    while len(sizes) < 2:  # they come before all structs
        head, at = data[at], at + 1
        field, kind = field + (head >> 4), head & 15
        if not head >> 4 or kind not in _NUMBERS:
            raise KeyError("no page header")
        number, at = _varint(data, at)
        if field in (_UNCOMPRESSED, _COMPRESSED):
            sizes[field] = (number >> 1) ^ -(number & 1)
    if min(sizes.values()) < 0:
        raise KeyError("a negative size")
    return sizes[_UNCOMPRESSED], sizes[_COMPRESSED], _skip(data, at)


def _skip(data: bytes, at: int) -> int:
    """Where the struct ends that is read up to `at`."""
    while head := data[at]:
        at += 1
        if not head >> 4:  # the number of the field follows
            _, at = _varint(data, at)
        at = _skip_value(data, at, head & 15)
    return at + 1


def _skip_value(data: bytes, at: int, kind: int) -> int:
    if kind in (1, 2):  # true and false, in the head
        return at
    if kind == 3:
        return at + 1
    if kind in _NUMBERS:
        return _varint(data, at)[1]
    if kind == 7:
        return at + 8
    if kind == 8:
        length, at = _varint(data, at)
        return at + length
    if kind == 12:
        return _skip(data, at)
    raise KeyError(f"no kind {kind} in page headers")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
