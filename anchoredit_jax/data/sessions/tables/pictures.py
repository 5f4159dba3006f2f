"""Images as tables have them: bytes, {bytes, path} structs, and paths of files."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anchoredit_jax.data.sessions.folders import read_file
from anchoredit_jax.data.sessions.raw import RefusedError, safe_name

_FIELDS = ("path", "file", "file_name", "url")
Load = Callable[[Any, str], bytes]  # (what the table has, what errors call it)


def load_picture(
    value: Any, name: str, root: Path | None, limit: int, follow: bool
) -> bytes:
    """An image's file.

    Args:
      value: what the table has: bytes, an object with "bytes" or a path, or a path.
      name: what errors call it, such as "the target of turn 2".
      root: paths are relative to it, and stay inside; None: the table must hold all.
      limit: the largest file, in bytes.
      follow: whether symbolic links are.

    Raises:
      RefusedError: it is none of these, is too large, or its file cannot be read.
    """
    if isinstance(value, Mapping):
        held = value.get("bytes")
        path = next((value[f] for f in _FIELDS if value.get(f) is not None), None)
        value = path if held is None else held
    if isinstance(value, bytes):
        if not value:
            raise RefusedError("missing image", f"{name} is empty (0 bytes)")
        if len(value) > limit:
            raise RefusedError(
                "too large", f"{name} has {len(value)} bytes, at most {limit} are read"
            )
        return value
    if value is None:
        raise RefusedError("missing image", f"{name} is null")
    if not isinstance(value, str):
        raise RefusedError(
            "bad row", f"{name} is no image but a {type(value).__name__}"
        )
    if re.match(r"[a-z]+://", value):
        raise RefusedError(
            "missing image",
            f"{name} is an address, {value!r}: download it, and give its file's path",
        )
    if root is None:
        raise RefusedError(
            "missing image",
            f"{name} has the path {value!r} and no bytes: write the images into the "
            "table (Hugging Face datasets: save with embedded files)",
        )
    return _read(root, value, name, limit, follow)


def paths_of(value: Any) -> list[str]:
    """All texts in a value, however nested: among them the paths of its images."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        return [path for entry in value for path in paths_of(entry)]
    return []


def _read(root: Path, value: str, name: str, limit: int, follow: bool) -> bytes:
    path = root
    for piece in safe_name(value).split("/"):
        path = path / piece
        if not follow and path.is_symlink():
            raise RefusedError("link", f"{name}, {value!r}, is reached by a link")
    if "\0" in value or not path.exists():
        raise RefusedError("missing image", f"{name}: there is no file {value!r}")
    return read_file(path, limit, follow)
