"""Files that appear whole or not at all, folders that know whose they are, and digests.

What is written lies beside its place under another name until all of it is on the disk:
a reader, or the next start after a stop at any moment, never meets a part of it.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anchoredit_jax.errors import UserError

Data = bytes | bytearray | memoryview
_PARTIAL = ".anchoredit_partial"  # ends names that are nobody else's: they are removed
LOCK = ".in_use"  # begins names of locks, see in_use.py


@contextmanager
def appearing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yields where to write a file or a folder, which then takes its place at `path`.

    The place is beside `path`, in a folder that is made where it is missing. A file
    that is there is replaced; a folder has to be new. After an error nothing is left.

    Args:
      shared: Several may write `path` at the same time. Each then has a place of its
        own, and the last one counts; else the place is that of an interrupted run too,
        whose part is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f".{uuid.uuid4().hex}" if shared else ""
    temporary = path.with_name(f".{path.name}{own}{_PARTIAL}")
    _remove(temporary)  # of an interrupted run
    try:
        with naming(path):
            yield temporary
            if temporary.is_file():
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        _remove(temporary)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an `OSError` of a file that is open already, which has no name, name it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def is_passing(path: Path) -> bool:
    """Whether it is no content of its folder: a lock, or what is being written, or was
    when a run stopped."""
    name = path.name
    return name.startswith(LOCK) or name.startswith(".") and name.endswith(_PARTIAL)


def check_replaceable(
    path: Path, is_ours: Callable[[Path], bool], what: str, advice: str
) -> None:
    """Refuse to write a file where something else lies than an earlier one of its kind.

    Args:
      is_ours: tells it of a file; it may raise `UserError` for one that is none.
      what: the kind, such as "a saved session".
      advice: what to do, such as "name another file".

    Raises:
      UserError: there is a folder, a link to nowhere, or a file of another kind.
    """
    if not os.path.lexists(path):
        return
    try:
        ours = path.is_file() and is_ours(path)
    except UserError:
        ours = False
    if not ours:
        raise UserError(f"{str(path)!r} is there and is not {what}: {advice}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, see `appearing`."""
    with appearing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 that appears whole or not at all, see `appearing`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write JSON in UTF-8 that appears whole or not at all, see `appearing`.

    Surrogates, of a file's name that is not UTF-8, are escaped; they are read back.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))


def read_json(path: Path, advice: str = "") -> dict[str, Any]:
    """The object in a JSON file that may be damaged, or anybody's.

    Args:
      advice: what to do about a file that holds none.

    Raises:
      UserError: it cannot be read, or holds no JSON object.
    """
    told = f": {advice}" if advice else ""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({error.strerror}){told}"
        ) from error
    except (ValueError, RecursionError) as error:  # also what is no Unicode
        raise UserError(f"{str(path)!r} is damaged ({error}){told}") from error
    if not isinstance(found, dict):
        raise UserError(
            f"{str(path)!r} is damaged (expected a JSON object, found a "
            f"{type(found).__name__}){told}"
        )
    return found


def claim(folder: Path, name: str, settings: Mapping[str, Any], advice: str) -> None:
    """Say in the file `name` of a folder what its content is made with.

    Args:
      folder: It is made where it is missing.
      settings: All that the content depends on, as JSON values.
      advice: What a person should do about a folder of other settings.

    Raises:
      UserError: The folder is a file, holds what was made with other settings or what
        nobody claimed, or its claim is damaged.
    """
    path, settings = folder / name, json.loads(json.dumps(settings))
    if is_claimed(folder, name, advice):
        there = read_json(path, advice)
        check_claim(folder, there, dict.fromkeys(there) | settings, advice)
    else:
        write_json(path, settings)


def is_claimed(folder: Path, name: str, advice: str) -> bool:
    """Whether a folder has the claim `name`, see `claim`; else it is new or empty.

    Raises:
      UserError: The folder is a file, or holds other things and no claim.
    """
    if folder.is_file():
        raise UserError(f"the folder {str(folder)!r} is a file; give a folder")
    if (folder / name).is_file():
        return True
    others = sorted(folder.iterdir()) if folder.is_dir() else []
    others = [path.name for path in others if not is_passing(path)]
    if others:
        raise UserError(
            f"{str(folder)!r} is not empty and was not made by this command (it holds "
            f"{others[0]!r} and no {name!r}): {advice}"
        )
    return False


def check_claim(
    folder: Path, there: Mapping[str, Any], wanted: Mapping[str, Any], advice: str
) -> None:
    """Refuse a folder whose claim is another than what is wanted of it.

    Raises:
      UserError: It tells the names that differ, and both values of each.
    """
    other = [name for name in wanted if there.get(name) != wanted[name]]
    if other:
        told = "; ".join(
            f"{name}: {there.get(name)}, now {wanted[name]}" for name in other
        )
        raise UserError(
            f"{str(folder)!r} was begun with another {' and '.join(other)} ({told}): "
            f"{advice}"
        )


def check_plain(folder: Path, what: str) -> None:
    """Refuse a folder whose path libraries take for something else: Orbax and TFDS look
    for their files by patterns, and tensorstore takes a backslash for a slash.

    Args:
      what: would be kept there, in the plural.

    Raises:
      UserError: it names what the path holds.
    """
    path = str(Path(folder).absolute())
    found = [mark for mark in "*?[\\" if mark in path]
    if found or not is_unicode(path):
        holds = " and ".join(map(repr, found)) or "bytes that are not UTF-8"
        raise UserError(
            f"{what} cannot be kept in {path!r}, whose path holds {holds} (libraries "
            "take it for a pattern): rename it, give another folder, or a symbolic "
            "link to this one whose own path holds none"
        )


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written in UTF-8. A name on the disk, or an argument,
    of other bytes comes to Python as a text with surrogates, which cannot."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def sha256(*parts: Data, digits: int = 64) -> str:
    """The first hexadecimal digits of the SHA-256 of the parts, one after the other."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()[:digits]


def blake2b(*parts: Data) -> str:
    """16 hexadecimal digits; not a defence against forgery, only against chance."""
    blake = hashlib.blake2b(digest_size=8)
    for part in parts:
        blake.update(part)
    return blake.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
