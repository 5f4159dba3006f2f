"""Members of a tar file that may be damaged, in order and in bounded memory."""

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from anchoredit_jax.data.sessions.raw import RefusedError

_MAX_HEADER = 16 * 2**10  # bytes of one read of a header
# What `tarfile` raises on damaged data.
_DAMAGE = (
    *(tarfile.TarError, OSError, ValueError, LookupError, ArithmeticError),
    *(RecursionError, MemoryError),
)


def tar_members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The members in their order; at each, `file` stands where its content begins.

    `tarfile` by itself, its stream mode too, reads headers of any size into memory and
    says nothing where the end mark is missing.

    Raises:
      RefusedError: It is no plain tar file, is damaged or cut off, or holds nothing.
    """
    size, guard, empty = os.fstat(file.fileno()).st_size, _Guard(file), True
    tar = _open(guard)
    while (member := _next(tar, guard)) is not None:
        empty = False
        left = size - file.tell()
        if is_plain(member) and member.size > left:
            raise RefusedError(
                "truncated shard",
                f"{member.name!r} has {member.size} bytes by its header, but only "
                f"{left} bytes are left",
            )
        yield member
    if empty:
        raise RefusedError("damaged shard", "it holds no files")


def is_plain(member: tarfile.TarInfo) -> bool:
    """Whether a member is an ordinary file, whose content lies behind its header."""
    return member.isreg() and not member.issparse()


def read_content(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a file, all of them.

    Raises:
      RefusedError: They cannot be read, or are no longer there.
    """
    try:
        data = file.read(size)
    except OSError as error:
        raise RefusedError("damaged shard", error) from error
    if len(data) < size:
        raise RefusedError("truncated shard", "it became shorter while it was read")
    return data


class _Guard:
    """A shard as `tarfile` may see it: forwards only, and in small pieces.

    A header that lies could otherwise send it in circles, or make it read gigabytes.

    Attributes:
      last: what was read last.
      short: whether the file ended there.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self.last, self.short = b"", False
        self.tell = file.tell

    def seek(self, offset: int) -> None:
        if offset < self._file.tell():
            raise tarfile.ReadError("a header points backwards")
        self._file.seek(offset)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self._file.read(size)
        self.short = len(self.last) < size
        return self.last

    def rest_is_empty(self) -> bool:
        """Tell whether zeros follow the end mark, as far as a megabyte tells."""
        return not self._file.read(2**20).strip(b"\0")


def _open(guard: _Guard) -> tarfile.TarFile:
    try:
        return tarfile.TarFile(
            fileobj=guard, mode="r", encoding="utf-8", errors="surrogateescape"
        )
    except _DAMAGE as error:
        raise RefusedError("damaged shard", f"it is no tar file ({error})") from error


def _next(tar: tarfile.TarFile, guard: _Guard) -> tarfile.TarInfo | None:
    """The next member; None behind the last one.

    Raises:
      RefusedError: the shard ends without an end mark, or a header is damaged.
    """
    try:
        member = tar.next()
        tar.members.clear()  # it would keep all of them
        sound = member is not None or (
            guard.last == bytes(tarfile.BLOCKSIZE) and guard.rest_is_empty()
        )
    except _DAMAGE as error:
        if guard.short:
            raise RefusedError("truncated shard", f"it ends early ({error})") from error
        raise RefusedError("damaged shard", f"a damaged header: {error}") from error
    if member is not None and member.size < 0:
        raise RefusedError("damaged shard", f"{member.name!r} has a size below 0")
    if not sound and guard.short:
        raise RefusedError("truncated shard", "it ends without an end mark")
    if not sound:
        raise RefusedError(
            "damaged shard", "a damaged header: what follows it is not read"
        )
    return member
