"""Stored data that tells when it was damaged: lists of files, sealed JSON, check sums.

The list of a folder's files has the size of each and, of the small ones, a check sum:
both are compared when the folder is opened, which costs a look at every file. Record
files, which may be terabytes, are compared by size alone; every record of theirs has a
check sum of its own, which is compared when it is read.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from google.protobuf import json_format, message

from anchoredit_jax import files
from anchoredit_jax.errors import UserError

SEAL = "seal"  # the key of a document's own digest
Listed = dict[str, list[int | None]]  # file name -> [bytes, CRC-32 or None]

# What the readers of record files, TFDS and their formats raise on damaged data.
DAMAGE = (
    *(OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, AssertionError, EOFError, MemoryError, StopIteration),
    *(struct.error, json_format.Error, message.Error),
)


@contextmanager
def reading(what: str, advice: str) -> Iterator[None]:
    """Turn what the readers of stored data raise into a `UserError` of one line.

    Args:
      what: is read, with its path.
      advice: what to do when it cannot be.
    """
    try:
        yield
    except UserError:
        raise
    except DAMAGE as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{what} is damaged ({why}): {advice}") from error


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the digest of all that it holds."""
    return {**document, SEAL: _digest(document)}


def check_sealed(document: Mapping[str, Any], path: Path, advice: str) -> None:
    """Refuse an object that is not as `sealed` made it.

    Raises:
      UserError: its digest is another, or it has none.
    """
    rest = {name: value for name, value in document.items() if name != SEAL}
    if document.get(SEAL) != _digest(rest):
        raise UserError(
            f"{str(path)!r} is damaged (what it says does not fit its digest): {advice}"
        )


def list_files(folder: Path, names: Iterator[Path], records: str) -> Listed:
    """The files of a folder.

    Args:
      names: of the files, below `folder`.
      records: a piece of the names of record files, which get no check sum.
    """
    return {
        str(path.relative_to(folder)): [
            path.stat().st_size,
            None if records in path.name else check_sum(path),
        ]
        for path in sorted(names)
    }


def check_files(folder: Path, listed: Mapping[str, list], advice: str) -> None:
    """Compare a folder's files with their list.

    Raises:
      UserError: one is missing or damaged; it has the path.
    """
    for name, (size, told) in listed.items():
        path = folder / name
        with reading(repr(str(path)), advice):
            if not path.is_file():
                raise UserError(f"{str(path)!r} is missing: {advice}")
            found = path.stat().st_size
            if found != size:
                raise UserError(
                    f"{str(path)!r} is damaged ({found} bytes of {size}): {advice}"
                )
            if told is not None and told != check_sum(path):
                raise UserError(
                    f"{str(path)!r} is damaged (its check sum is another): {advice}"
                )


def check_sum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            value = crc32(block, value)
    return value


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True)
    return files.sha256(text.encode(), digits=16)
