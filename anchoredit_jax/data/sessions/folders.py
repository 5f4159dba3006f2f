"""Sessions in folders, and the parts of any source.

A source is a tar shard, a JSON list {"resolved_files": [...]} of them, or a folder that
holds tar shards, folders of one session each (`<root>/<id>/`), or both. Symbolic links
of the folder are followed, or refused: see `Part`.
"""

import errno
import functools
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.choices import LINKS
from anchoredit_jax.data.sessions.layouts import (
    is_data,
    is_ignored,
    other_format,
    recognise,
)
from anchoredit_jax.data.sessions.raw import (
    IGNORED,
    MAX_IMAGE_BYTES,
    MAX_JSON_BYTES,
    MAX_SESSION_BYTES,
    Dropped,
    Part,
    Place,
    RawSession,
    RefusedError,
    build_session,
    drop,
    parse_document,
    parse_name,
    safe_name,
)
from anchoredit_jax.data.sessions.tar_shards import read_shard
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import sha256

READER = 1  # raised when the same files are read as other sessions
_LIST = "resolved_files"
_LISTS = ("sessions.json", "benchmark.json")  # what we write beside sessions

_LINK = RefusedError("link", "it is a link; links are not followed")

Parse = Callable[[bytes], Any]
Build = Callable[[str, str, dict[int, tuple[str, bytes]], Any], Any]


def list_parts(
    source: str | Path, folders_per_part: int = 1000, links: str = "follow"
) -> list[Part]:
    """The parts of a source, always in the same order: shards, then folders, by name.

    Args:
      source: see above.
      folders_per_part: session folders that one process reads.
      links: see `Part`.

    Raises:
      UserError: `links` is none of `LINKS`, there is nothing, the list is malformed, or
        a shard it names is missing.
    """
    if folders_per_part < 1:
        raise UserError(f"folders_per_part must be 1 or more, given {folders_per_part}")
    if links not in LINKS:
        raise UserError(f"links must be {' or '.join(LINKS)}, given {links!r}")
    path = Path(source)
    try:
        if path.is_dir():
            return _parts_of_folder(path, folders_per_part, links)
        if not path.exists():
            raise UserError(
                f"sessions {str(source)!r} do not exist: give a folder, a .tar shard, "
                "or a JSON list of shards"
            )
        if path.is_file() and path.suffix.lower() == ".tar":
            return [Part(str(path), str(source))]
        if path.is_file() and path.suffix.lower() == ".json":
            return _parts_of_list(path)
    except OSError as error:
        raise UserError(
            f"sessions {str(source)!r} cannot be read: {error.strerror}"
        ) from error
    hint = recognise([path.name])
    raise UserError(
        f"sessions {str(source)!r} must be a folder, a .tar shard, or a .json list of "
        "shards" + (f"; {hint}" if hint else "")
    )


def fingerprint_part(part: Part) -> str:
    """A digest of the names, sizes and times of a part's files; none is read.

    Raises:
      UserError: the shard is gone.
    """
    told: list[Any] = [READER, part.path, part.links]
    if part.folders is None:
        try:
            told.append(_stamp(os.stat(part.path)))
        except OSError as error:
            raise UserError(
                f"shard {part.origin!r} cannot be read: {error.strerror}"
            ) from error
    for name in part.folders or ():
        if is_ignored(name):
            continue
        told.append([name, *_stamps(Path(part.path, name), part.links == "follow")])
    return sha256(json.dumps(told).encode(), digits=16)


def is_fingerprint(name: str) -> bool:
    """Whether a name may be one that `fingerprint_part` gave."""
    return re.fullmatch("[0-9a-f]{16}", name) is not None


def _stamps(path: Path, follow: bool) -> list[Any]:
    """Names, sizes and times of what is in a folder, or of what is there instead."""
    stamps = []
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        return [error.errno]
    for entry in found:
        if is_ignored(entry.name):
            continue
        try:
            stamps.append([entry.name, *_stamp(entry.stat(follow_symlinks=follow))])
        except OSError as error:  # a link to nothing
            stamps.append([entry.name, error.errno])
    return stamps


def _stamp(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def read_part(
    part: Part,
    languages: Sequence[str] = ("en",),
    max_image_bytes: int = MAX_IMAGE_BYTES,
) -> Iterator[RawSession | Dropped]:
    """Sessions of a part in the order of their files; whatever is wrong is `Dropped`.

    Args:
      part: one of those that `list_parts` gives.
      languages: those wanted; plain texts ("text") are always taken.
      max_image_bytes: the largest image file; a session with a larger one is dropped.

    Raises:
      UserError: the shard or the root is gone, or a setting is of the wrong kind.
    """
    if isinstance(languages, str):
        raise UserError(f'languages must be a list, such as ["{languages}"]')
    if max_image_bytes < 1:
        raise UserError(f"max_image_bytes must be 1 or more, given {max_image_bytes}")
    if part.folders is None:
        if part.links == "refuse" and Path(part.path).is_symlink():
            return iter([drop(part.origin, part.origin, *_LINK.args)])
        if not Path(part.path).is_file():
            raise UserError(f"shard {part.origin!r} does not exist or is no file")
        return read_shard(part.path, part.origin, languages, max_image_bytes)
    if not Path(part.path).is_dir():
        raise UserError(f"sessions {part.origin!r} do not exist or are no folder")
    parse = functools.partial(parse_document, languages=languages)
    return read_folders(part, parse, build_session, max_image_bytes)


def read_folders(
    part: Part,
    parse: Parse,
    build: Build,
    max_image_bytes: int = MAX_IMAGE_BYTES,
) -> Iterator[Any]:
    """What `build` makes of the sessions of a part of folders; else `Dropped`.

    Args:
      part: of `list_parts`, with folders.
      parse: makes of a document's bytes what `build` is given; may raise
        `RefusedError`.
      build: as `raw.build_session`: (key, origin, number -> (file name relative to the
        root, content), what was parsed or None) -> session or `Dropped`.
      max_image_bytes: the largest image file; a session with a larger one is dropped.
    """
    return (
        found
        for name in part.folders
        for found in _read_folder(part, name, parse, build, max_image_bytes)
    )


def _parts_of_folder(root: Path, folders_per_part: int, links: str) -> list[Part]:
    shards, folders, others = [], [], []
    with os.scandir(root) as entries:
        for entry in entries:
            kind = kind_of(entry)
            if entry.name.lower().endswith(".tar") and kind == "file":
                shards.append(entry.name)
            elif kind == "file" and entry.name in _LISTS:
                continue
            elif kind == "file":
                others.append(entry.name)  # told when they are read
            else:
                folders.append(entry.name)
    shards = sorted(name for name in shards if not is_ignored(name))
    if not shards and not any(not is_ignored(name) for name in folders):
        hint = recognise(sorted(others))
        raise UserError(
            f"no sessions in {str(root)!r}: expected .tar shards, or a folder <id>/ "
            "for each session" + (f"; {hint}" if hint else "")
        )
    paths = [str(root / name) for name in shards]
    names = [*sorted(folders), *sorted(others)]
    return [Part(path, path, links=links) for path in paths] + [
        Part(str(root), str(root), tuple(names[i : i + folders_per_part]), links)
        for i in range(0, len(names), folders_per_part)
    ]


def kind_of(entry: os.DirEntry) -> str:
    """ "folder" or "file", of what a link leads to; else "other"."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:  # links in a circle
        return "other"


def _parts_of_list(path: Path) -> list[Part]:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is no JSON list of shards: {error}") from error
    names = document.get(_LIST) if isinstance(document, dict) else None
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise UserError(
            f"{str(path)!r} must hold shards as {{{_LIST!r}: ['a.tar', ...]}}"
        )
    parts = [Part(str(path.parent / name), name) for name in sorted(names)]
    for i, part in enumerate(parts):
        if i and part.path == parts[i - 1].path:
            raise UserError(f"{str(path)!r} names shard {part.origin!r} twice")
        if not Path(part.path).is_file():
            raise UserError(
                f"{str(path)!r} names shard {part.origin!r}, which does not exist"
            )
    return parts


def _read_folder(
    part: Part, name: str, parse: Parse, build: Build, max_image_bytes: int
) -> Iterator[Any]:
    """Yields what is no part of the session, then the session or why it is dropped."""
    origin, follow = part.origin, part.links == "follow"
    try:
        key = safe_name(name)
        path = Path(part.path, name)
        _check_top(path, key, follow)
        files, strangers = _list_files(path, key, follow)
        for stranger, error in strangers:
            yield drop(stranger, origin, *error.args)
        document, contents, left = None, {}, MAX_SESSION_BYTES
        for number, file in _by_number(files).items():
            if number is None:
                data = read_file(file, MAX_JSON_BYTES, follow)
                document = _parse(file.name, data, parse)
            else:
                data = read_file(file, min(max_image_bytes, left), follow)
                contents[number] = f"{name}/{file.name}", data
                left -= len(data)
    except RefusedError as error:
        yield drop(name, origin, *error.args)
        return
    built = build(key, origin, contents, document)
    if isinstance(built, Dropped) and built.reason.startswith("missing"):
        hint = recognise(sorted(path.rpartition("/")[2] for path, _ in strangers))
        if hint:
            built = drop(key, origin, built.reason, f"{built.detail}; {hint}")
    yield built


def _check_top(path: Path, key: str, follow: bool) -> None:
    """Refuse what lies below the root and is no folder of a session."""
    if is_ignored(key):
        raise RefusedError(IGNORED, "it is hidden, or another system's")
    if path.is_symlink():
        if not follow:
            raise _LINK
        real, root = os.path.realpath(path), os.path.realpath(path.parent)
        if os.path.commonpath([real, root]) == real:
            what = f"it is a link to {real!r}, which holds it: a cycle"
            raise RefusedError("link", what)
    if path.is_file():
        if is_data(key):
            hint = recognise([key])
            raise RefusedError(
                "unknown file", f"it lies in no session's folder; {hint}"
            )
        raise RefusedError(IGNORED, "it lies in no session's folder")


def _list_files(
    path: Path, key: str, follow: bool
) -> tuple[list[tuple[Place, os.DirEntry]], list[tuple[str, RefusedError]]]:
    """A session folder's files: [(place, entry)], and [(name, why not)] of others."""
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(error, f"folder {key!r}", path.is_symlink()) from error
    # <id>/<id>.json is the document even beside others.
    named = any(entry.name == f"{key}.json" for entry in found)
    # A link may have another name than the session's folder.
    keys = (key, os.path.basename(os.path.realpath(path)))
    files, strangers = [], []
    for entry in found:
        name = f"{key}/{entry.name}"
        try:
            place = parse_name(safe_name(name))
            if is_ignored(entry.name):
                raise RefusedError(IGNORED, "it is hidden, or another system's")
            if place is None or not _belongs(place, key, keys, named):
                told = other_format(name)
                raise RefusedError(
                    "unknown file",
                    told or f"{name!r} is no image or document of {key!r}",
                )
            files.append((place, entry))
        except RefusedError as error:
            strangers.append((name, error))
    return files, strangers


def _belongs(place: Place, key: str, keys: Sequence[str], named: bool) -> bool:
    # <id>/<id>.<n>.<ext> parses as the id "<id>/<id>".
    own = (key, *(f"{key}/{name}" for name in keys))
    return place.key in own or (place.number is None and not named)


def _by_number(files: list[tuple[Place, os.DirEntry]]) -> dict[int | None, os.DirEntry]:
    """The document (None), if there is one, and the images."""
    chosen: dict[int | None, os.DirEntry] = {}
    for place, entry in sorted(files, key=lambda file: file[0].number is not None):
        if place.number in chosen:
            what = "a .json" if place.number is None else f"image {place.number}"
            raise RefusedError(
                "duplicate",
                f"{what} is there twice: {chosen[place.number].name!r} and "
                f"{entry.name!r}",
            )
        chosen[place.number] = entry
    return chosen


def _parse(name: str, data: bytes, parse: Parse) -> Any:
    try:
        return parse(data)
    except RefusedError as error:
        reason, detail = error.args
        raise RefusedError(reason, f"{name!r}: {detail}") from error


def read_file(entry: os.DirEntry | Path, limit: int, follow: bool) -> bytes:
    """A file's content, of at most `limit` bytes.

    Args:
      follow: whether it may be a symbolic link.

    Raises:
      RefusedError: it is a link to nothing or not to be followed, no ordinary file, too
        large, or cannot be read.
    """
    try:
        if entry.is_symlink() and not follow:
            raise RefusedError("link", f"{entry.name!r} is a link; it is not followed")
        if not stat.S_ISREG(os.stat(entry).st_mode):  # a pipe would never end
            raise RefusedError("unknown file", f"{entry.name!r} is no ordinary file")
        with open(entry, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise _unreadable(error, repr(entry.name), entry.is_symlink()) from error
    if len(data) > limit:
        raise RefusedError(
            "too large", f"{entry.name!r} has more than the {limit} bytes that are read"
        )
    return data


def _unreadable(error: OSError, what: str, link: bool) -> RefusedError:
    """Why a file or folder cannot be opened."""
    if link and error.errno in (errno.ENOENT, errno.ELOOP):
        where = "in a circle" if error.errno == errno.ELOOP else "to nothing"
        return RefusedError("link", f"{what} is a link that leads {where}")
    return RefusedError("unreadable", f"{what}: {error.strerror}")
