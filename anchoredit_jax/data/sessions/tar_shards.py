"""Sessions in tar shards, read front to back and never unpacked.

A session's members need not be neighbours, but what waits for its rest is bounded:
`MAX_OPEN` sessions of `MAX_SESSION_BYTES` together. Plain tar only: a compressed shard
is reported as damaged, and how to unpack it.
"""

import dataclasses
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import BinaryIO

from anchoredit_jax.data.sessions.layouts import (
    compressed,
    is_ignored,
    other_format,
)
from anchoredit_jax.data.sessions.raw import (
    IGNORED,
    MAX_JSON_BYTES,
    MAX_SESSION_BYTES,
    Dropped,
    Place,
    RawSession,
    RefusedError,
    build_session,
    drop,
    parse_document,
    parse_name,
    safe_name,
)
from anchoredit_jax.data.sessions.tar_members import (
    is_plain,
    read_content,
    tar_members,
)

Found = RawSession | Dropped

MAX_OPEN = 512  # sessions that wait for members


def read_shard(
    path: str, origin: str, languages: Sequence[str], max_image_bytes: int
) -> Iterator[Found]:
    """The sessions of a tar file, each when it is complete.

    Args:
      path: where the tar file lies.
      origin: how the user calls it.
      languages: of the instructions, see `parse_document`.
      max_image_bytes: the largest image file; larger ones are not read.
    """
    shard = PurePath(origin).name
    try:
        file = open(path, "rb")
    except OSError as error:
        yield drop(shard, origin, "unreadable", f"shard {origin!r}: {error.strerror}")
        return
    with file:
        groups, end = _Groups(origin, languages), None
        try:
            for member in tar_members(file):
                yield from _read_member(file, member, groups, max_image_bytes)
        except RefusedError as error:
            end = error
        yield from groups.settle(None)
        if end is not None:
            reason, detail = end.args
            file.seek(0)
            detail = compressed(file.read(8)) or detail
            yield drop(shard, origin, reason, f"shard {origin!r}: {detail}")
        yield from groups.leftovers()


def _read_member(
    file: BinaryIO,
    member: tarfile.TarInfo,
    groups: "_Groups",
    max_image_bytes: int,
) -> Iterator[Found]:
    """Feed a member to `groups`; yields what it completes or spoils."""
    try:
        name = safe_name(member.name)
        place = parse_name(name)
    except RefusedError as error:
        yield drop(member.name[:100], groups.origin, *error.args)
        return
    if member.isdir():
        return
    if is_ignored(name):
        detail = "it is hidden, or another system's"
        yield drop(name, groups.origin, IGNORED, detail)
        return
    if place is None:
        detail = other_format(name) or (
            f"{name!r} is no image <id>.<n>.jpg, jpeg, png or webp and no .json"
        )
        yield drop(name, groups.origin, "unknown file", detail)
        return
    limit = MAX_JSON_BYTES if place.number is None else max_image_bytes
    if not is_plain(member):
        link = member.issym() or member.islnk()
        what = "a link; links are not followed" if link else "no ordinary file"
        reason = "link" if link else "unknown file"
        yield from groups.refuse(place, reason, f"{name!r} is {what}")
    elif member.size > limit:
        detail = f"{name!r} has {member.size} bytes, at most {limit} are read"
        yield from groups.refuse(place, "too large", detail)
    else:
        yield from groups.add(place, name, read_content(file, member.size))


@dataclasses.dataclass
class _Open:
    """A session that waits for members; `folder` is its document's."""

    images: dict[int, tuple[str, bytes]] = dataclasses.field(default_factory=dict)
    instructions: dict[str, tuple[str, ...]] | None = None
    folder: str | None = None
    framed: bool = False
    size: int = 0

    @property
    def full(self) -> bool:
        """Tell whether the session waits for no further file."""
        if self.instructions is None:
            return False
        return len(self.images) > len(next(iter(self.instructions.values())))


class _Groups:
    """The open sessions of a shard, by key.

    A session whose last member came is settled when another session's member comes: an
    image too many beside the others is still noticed.
    """

    def __init__(self, origin: str, languages: Sequence[str]):
        self.origin = origin
        self._languages = languages
        self._open: dict[str, _Open] = {}
        self._closed: dict[str, bool] = {}  # whether a second one is to be reported
        self._last: str | None = None
        self._size = 0

    def add(self, place: Place, name: str, data: bytes) -> Iterator[Found]:
        """Take a member; yields what it completes or spoils."""
        key = self._key(place)
        yield from self.settle(key)
        session = self._open.get(key) or _Open()
        number = place.number
        taken = session.instructions if number is None else session.images.get(number)
        if taken is not None and session.full:
            yield self._build(key)
        if key in self._closed:
            yield from self._again(key, name)
            return
        if taken is not None:
            yield self._drop(key, "duplicate", f"{name!r} is there already")
            return
        self._open[key] = session
        if number is None:
            try:
                session.instructions = parse_document(data, self._languages)
            except RefusedError as error:
                reason, detail = error.args
                yield self._drop(key, reason, f"{name!r}: {detail}")
                return
            session.folder = place.folder
        else:
            session.images[number] = name, data
            session.framed = place.framed
        session.size += len(data)
        self._size += len(data)
        yield from self._shed()

    def refuse(self, place: Place, reason: str, detail: str) -> Iterator[Found]:
        """Drop the session of a member that cannot be taken."""
        key = self._key(place)
        yield from self.settle(key)
        if key in self._closed:
            yield from self._again(key, detail)
        else:
            yield self._drop(key, reason, detail)

    def settle(self, key: str | None) -> Iterator[Found]:
        """Close the session of the last member, if it is full and another than `key`.

        Yields the session, or why it is dropped.
        """
        last, self._last = self._last, key
        if last != key and last in self._open and self._open[last].full:
            yield self._build(last)

    def leftovers(self) -> Iterator[Found]:
        """Yield what every session lacks that is open at the end of the shard."""
        for key in list(self._open):
            yield self._build(key)

    def _key(self, place: Place) -> str:
        """The key of a place; finds the frames' document, whichever comes first."""
        known = place.key in self._open or place.key in self._closed
        if known or not place.folder:
            return place.key
        if place.number is None:
            beside = self._open.get(place.folder)
            return place.folder if beside and beside.framed else place.key
        if place.framed:
            for key, waiting in self._open.items():
                if waiting.folder == place.folder and not waiting.images:
                    self._open[place.key] = self._open.pop(key)
                    break
        return place.key

    def _build(self, key: str) -> Found:
        session = self._close(key)
        built = build_session(key, self.origin, session.images, session.instructions)
        self._closed[key] = isinstance(built, RawSession)
        return built

    def _drop(self, key: str, reason: str, detail: str) -> Dropped:
        self._close(key)
        return drop(key, self.origin, reason, detail)

    def _close(self, key: str) -> _Open:
        session = self._open.pop(key, None) or _Open()
        self._size -= session.size
        self._closed[key] = False
        return session

    def _again(self, key: str, name: str) -> Iterator[Found]:
        """Report a second session of a key, once."""
        if self._closed[key]:
            self._closed[key] = False
            detail = f"{name!r}: a session of this id came before"
            yield drop(key, self.origin, "duplicate", detail)

    def _shed(self) -> Iterator[Found]:
        """Keep memory bounded: drop what has waited longest."""
        while len(self._open) > MAX_OPEN or self._size > MAX_SESSION_BYTES:
            yield self._drop(
                next(iter(self._open)),
                "scattered" if len(self._open) > 1 else "too large",
                f"its members lie too far apart: at most {MAX_OPEN} sessions and "
                f"{MAX_SESSION_BYTES} bytes wait for their rest",
            )
