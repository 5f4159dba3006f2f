"""Folders of somebody else: with files under the names that a command writes, or in
use."""

import json
import os
from pathlib import Path

from anchoredit_jax.files import LOCK
from anchoredit_jax.in_use import HOLDER, in_use

CONTENT = "written by somebody else, years ago\n"


def plant(place: Path, kind: str) -> None:
    """A file, or a folder with a file in it, that nobody must touch."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        place.mkdir()
        place = place / "mine.txt"
    place.write_text(CONTENT)


def snapshot(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the bytes of files."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def hold(folder: Path, name: str = "") -> None:
    """A lock of a folder, or of a share of it, as if the process that started this one
    had it."""
    lock, about = folder / f"{LOCK}{name}", folder / f"{HOLDER}{name}"
    with in_use(folder, name):
        _, *rest = lock.read_text().splitlines()
        holder = json.loads(about.read_text()) | {"process": os.getppid()}
    folder.mkdir(parents=True, exist_ok=True)
    lock.write_text("\n".join([str(os.getppid()), rest[0]]) + "\n")
    about.write_text(json.dumps(holder))
