"""Sessions in folders, and the parts of any source.

A source is a tar shard, a JSON list {"resolved_files": [...]} of them, or a folder that
holds tar shards, folders of one session each (`<root>/<id>/`), or both.
"""

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.data.sessions.raw import (
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

_LIST = "resolved_files"

Parse = Callable[[bytes], Any]
Build = Callable[[str, str, dict[int, tuple[str, bytes]], Any], Any]


def list_parts(source: str | Path, folders_per_part: int = 1000) -> list[Part]:
    """The parts of a source, always in the same order: shards, then folders, by name.

    Args:
      source: see above.
      folders_per_part: session folders that one process reads.

    Raises:
      UserError: there is nothing, the list is malformed, or a shard it names is
        missing.
    """
    if folders_per_part < 1:
        raise UserError(f"folders_per_part must be 1 or more, given {folders_per_part}")
    path = Path(source)
    try:
        if path.is_dir():
            return _parts_of_folder(path, folders_per_part)
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
    raise UserError(
        f"sessions {str(source)!r} must be a folder, a .tar shard, or a .json list of "
        "shards"
    )


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


def _parts_of_folder(root: Path, folders_per_part: int) -> list[Part]:
    shards, folders = [], []
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.lower().endswith(".tar") and entry.is_file():
                shards.append(entry.name)
            elif entry.is_dir(follow_symlinks=False) or entry.is_symlink():
                folders.append(entry.name)  # links are reported when they are read
    if not shards and not folders:
        raise UserError(
            f"no sessions in {str(root)!r}: expected .tar shards, or a folder <id>/ "
            "for each session"
        )
    folders.sort()
    return [Part(str(root / name), str(root / name)) for name in sorted(shards)] + [
        Part(str(root), str(root), tuple(folders[i : i + folders_per_part]))
        for i in range(0, len(folders), folders_per_part)
    ]


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
    origin = part.origin
    try:
        key = safe_name(name)
        files, strangers = _list_files(Path(part.path, name), key)
        for path, error in strangers:
            yield drop(path, origin, *error.args)
        document, contents, left = None, {}, MAX_SESSION_BYTES
        for number, file in _by_number(files).items():
            if number is None:
                data = _read(file, MAX_JSON_BYTES)
                document = _parse(file.name, data, parse)
            else:
                data = _read(file, min(max_image_bytes, left))
                contents[number] = f"{name}/{file.name}", data
                left -= len(data)
    except RefusedError as error:
        yield drop(name, origin, *error.args)
        return
    yield build(key, origin, contents, document)


def _list_files(
    path: Path, key: str
) -> tuple[list[tuple[Place, os.DirEntry]], list[tuple[str, RefusedError]]]:
    """A session folder's files: [(place, entry)], and [(name, why not)] of others."""
    try:
        if path.is_symlink():
            raise RefusedError("link", f"folder {key!r} is a link; it is not followed")
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise RefusedError("unreadable", f"folder {key!r}: {error.strerror}") from error
    # <id>/<id>.json is the document even beside others.
    named = any(entry.name == f"{key}.json" for entry in found)
    files, strangers = [], []
    for entry in found:
        name = f"{key}/{entry.name}"
        try:
            place = parse_name(safe_name(name))
            if place is None or not _belongs(place, key, named):
                raise RefusedError(
                    "unknown file", f"{name!r} is no image or document of {key!r}"
                )
            files.append((place, entry))
        except RefusedError as error:
            strangers.append((name, error))
    return files, strangers


def _belongs(place: Place, key: str, named: bool) -> bool:
    # <id>/<id>.<n>.<ext> parses as the id "<id>/<id>".
    return place.key in (key, f"{key}/{key}") or (place.number is None and not named)


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


def _read(entry: os.DirEntry, limit: int) -> bytes:
    try:
        if entry.is_symlink():
            raise RefusedError("link", f"{entry.name!r} is a link; it is not followed")
        if not entry.is_file(follow_symlinks=False):  # a pipe would never end
            raise RefusedError("unknown file", f"{entry.name!r} is no ordinary file")
        with open(entry.path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise RefusedError("unreadable", f"{entry.name!r}: {error.strerror}") from error
    if len(data) > limit:
        raise RefusedError(
            "too large", f"{entry.name!r} has more than the {limit} bytes that are read"
        )
    return data
