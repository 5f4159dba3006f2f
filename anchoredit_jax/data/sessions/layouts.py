"""What else a folder may hold than sessions: told by names, and how it can be read."""

import re
from collections.abc import Iterable

from anchoredit_jax.data.sessions.raw import parse_name

# Of other machines and tools, beside all hidden names; in lower case.
_SYSTEM = frozenset(
    "thumbs.db ehthumbs.db desktop.ini __macosx @eadir #recycle $recycle.bin lost+found"
    " icon\r".split(" ")
) | {"system volume information"}
_IMAGES = re.compile(r".+\.(?:jpg|jpeg|png|webp)", re.IGNORECASE)
_PAIR = re.compile(r"(.+)_([01])\.(?:jpg|jpeg|png|webp)", re.IGNORECASE)
_PACKED = re.compile(r".+\.(?:tar\.(gz|bz2|xz|zst)|(tgz))", re.IGNORECASE)
_TABLE = re.compile(
    r"metadata\.(?:jsonl|csv)|.+\.(?:jsonl|parquet|arrow)", re.IGNORECASE
)
_OTHER = re.compile(
    r".+\.(heic|heif|hif|avif|gif|bmp|tif|tiff|jp2|jxl|dng|cr2|cr3|nef|arw|raf|orf|psd"
    r"|svg|pdf)",
    re.IGNORECASE,
)
_TOOLS = {"gz": "gunzip", "bz2": "bunzip2", "xz": "unxz", "zst": "unzstd"}
_MAGIC = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
_SESSION = "a folder <id>/ with <id>.0.jpg (the source), <id>.1.jpg (the result) and "
_DOCUMENT = '<id>.json {"instructions": ["..."]}'


def is_ignored(name: str) -> bool:
    """Tell whether a path is another machine's system's: hidden, or a known name."""
    return any(
        part.startswith(".") or part.lower() in _SYSTEM for part in name.split("/")
    )


def other_format(name: str) -> str | None:
    """What to do about an image of a kind that no session has; None for others."""
    found = _OTHER.fullmatch(name.rpartition("/")[2])
    if found is None:
        return None
    return (
        f"{name!r} is a {found[1].upper()} file, sessions have .jpg, .png or .webp: "
        "convert it (ImageMagick: mogrify -format jpg FILE) and keep its number"
    )


def compressed(start: bytes) -> str | None:
    """How to unpack a file that begins so; None if it is not compressed."""
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return f"it is compressed: unpack it first, with {_TOOLS[kind]}"
    return None


def recognise(names: Iterable[str]) -> str | None:
    """How the files of a folder can be read that are no session's; None if unknown."""
    names = [name for name in names if not is_ignored(name)]
    for name in names:
        if packed := _PACKED.fullmatch(name):
            tool = _TOOLS[(packed[1] or "gz").lower()]
            return f"{name!r} is a compressed shard: unpack it first, with {tool}"
    for name in names:
        if _TABLE.fullmatch(name):
            table = name.lower().endswith((".parquet", ".jsonl"))
            return f"{name!r} looks like a table of pairs" + (
                ": to read it, give it as the source by itself"
                if table
                else f", of a kind that is not read: write each row as {_SESSION}"
                + _DOCUMENT
            )
    pairs = {(found[1], found[2]) for name in names if (found := _PAIR.fullmatch(name))}
    for stem, number in sorted(pairs):
        if number == "0" and (stem, "1") in pairs:
            return (
                f"{stem + '_0'!r} and {stem + '_1'!r} look like a pair: rename "
                f"them, as {_SESSION}{_DOCUMENT}"
            )
    for name in names:
        if told := other_format(name):
            return told
    numbered = [name for name in names if (p := parse_name(name)) and p.number == 0]
    if numbered:
        return (
            f"{numbered[0]!r} looks like a session's source: give every session its "
            "own folder <id>/, or pack them as they are (tar cf sessions.tar *)"
        )
    if any(map(_IMAGES.fullmatch, names)):
        return f"there are images: write each pair as {_SESSION}{_DOCUMENT}"
    return None


def is_data(name: str) -> bool:
    """Tell whether a name is that of an image or of a packed shard or table."""
    return bool(
        any(kind.fullmatch(name) for kind in (_IMAGES, _OTHER, _PACKED, _TABLE))
    )
