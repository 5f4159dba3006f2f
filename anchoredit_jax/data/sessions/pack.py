"""Sound sessions of any source, written as tar shards and a list of them."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from anchoredit_jax.data.sessions.raw import Dropped, Part, RawSession, drop, printable
from anchoredit_jax.data.sessions.sources import open_source, read_part
from anchoredit_jax.data.sessions.tables.parts import Reading, TablePart
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import appearing, claim, write_text
from anchoredit_jax.in_use import in_use

LIST_NAME = "sessions.json"
CLAIM = "packing.json"  # in a folder that is not finished

OnDrop = Callable[[Dropped], object]


def pack_sessions(
    source: str | Path,
    out: str | Path,
    sessions_per_shard: int = 1000,
    languages: Sequence[str] = ("en",),
    on_drop: OnDrop = lambda dropped: None,
    links: str = "follow",
    reading: Reading | None = None,
) -> list[Path]:
    """Write the sound sessions of a source as shards, and `LIST_NAME` that lists them.

    Image files are copied byte for byte. The same sessions give the same bytes. Every
    file appears whole or not at all, the list last. Until then the folder has a file
    `CLAIM` that says what is packed, and the same call goes over it again.

    Args:
      source: what `open_source` takes.
      out: the folder to write, made if need be.
      sessions_per_shard: at most.
      languages: those kept, beside plain texts; see `read_part`.
      on_drop: called with everything that is left out; of several sessions with one
        id, that is all but the first.
      links: see `Part`.
      reading: see `open_source`.

    Returns:
      The shards, in order.

    Raises:
      UserError: nothing to pack, a finished list or anything else is there, `out` is
        where the source is, or the disk refuses.
    """
    if sessions_per_shard < 1:
        raise UserError(
            f"sessions_per_shard must be 1 or more, given {sessions_per_shard}"
        )
    parts, out = open_source(source, reading, links).parts, Path(out)
    _check_apart(Path(source), parts, out)
    with in_use(out):
        return _pack(source, out, sessions_per_shard, parts, languages, on_drop)


def _pack(
    source: str | Path,
    out: Path,
    sessions_per_shard: int,
    parts: Sequence[Part | TablePart],
    languages: Sequence[str],
    on_drop: OnDrop,
) -> list[Path]:
    """`pack_sessions`, into a folder that nobody else writes into."""
    shards = []
    sessions = _sessions(parts, languages, on_drop)
    try:
        claim(out, CLAIM, {"source": printable(str(source))}, "give a new folder")
        while (first := next(sessions, None)) is not None:
            shards.append(out / f"sessions-{len(shards):05d}.tar")
            some = chain([first], islice(sessions, sessions_per_shard - 1))
            with appearing(shards[-1]) as path:
                write_shard(path, chain.from_iterable(map(_members, some)))
        if not shards:
            raise UserError(f"no sound session in {str(source)!r}: nothing to pack")
        names = [shard.name for shard in shards]
        listed = json.dumps({"resolved_files": names}, indent=1)
        write_text(out / LIST_NAME, listed)
        (out / CLAIM).unlink()
    except OSError as error:
        raise UserError(f"{str(out)!r} cannot be written: {error}") from error
    return shards


def _check_apart(source: Path, parts: Sequence[Part | TablePart], out: Path) -> None:
    if (out / LIST_NAME).exists():
        raise UserError(
            f"{str(out)!r} holds packed sessions already: give a new folder"
        )
    # New files among the source's would be read, or take the place of its shards.
    place, root = out.resolve(), source.resolve()
    within = root.is_dir() and root in (place, *place.parents)
    paths = [
        path
        for part in parts
        for path in ([part.path] if isinstance(part, Part) else part.paths)
    ]
    if within or place in {Path(path).resolve().parent for path in paths}:
        raise UserError(
            f"sessions cannot be packed into {str(out)!r}, where the source is: give "
            "another folder"
        )


def _sessions(
    parts: Sequence[Part | TablePart], languages: Sequence[str], on_drop: OnDrop
) -> Iterator[RawSession]:
    seen = set()
    for part in parts:
        for found in read_part(part, languages):
            if isinstance(found, Dropped):
                on_drop(found)
            elif found.key in seen:
                detail = f"a session {found.key!r} was packed before"
                on_drop(drop(found.key, found.origin, "duplicate", detail))
            else:
                seen.add(found.key)
                yield found


def write_shard(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar file of (name, content); the same files give the same bytes."""
    # The pax format spells names beyond ASCII in an extra header of their own.
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)  # nobody's, from 1970: nothing varies
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            tar.members.clear()  # it would keep all of them


def _members(session: RawSession) -> Iterator[tuple[str, bytes]]:
    turns = zip(*session.instructions.values(), strict=True)
    texts = [dict(zip(session.instructions, turn, strict=True)) for turn in turns]
    yield f"{session.key}.json", json.dumps({"instructions": texts}).encode()
    for number, data in enumerate(session.images):
        yield f"{session.key}.{number}.{_extension(data)}", data


def _extension(data: bytes) -> str:
    """The file ending of the content; other formats are called png.

    Readers go by the content and not by the name.
    """
    if data.startswith(b"\xff\xd8"):
        return "jpg"
    return "webp" if data[8:12] == b"WEBP" else "png"
