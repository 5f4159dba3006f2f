"""Folders with files of somebody else, under the names that a command writes."""

from pathlib import Path

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
