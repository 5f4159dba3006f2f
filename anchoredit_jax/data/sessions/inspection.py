"""What a source holds, before anything is made of it."""

import dataclasses
import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.sessions.raw import ALL, IGNORED, Dropped, RawSession
from anchoredit_jax.data.sessions.sources import open_source, read_part
from anchoredit_jax.data.sessions.tables.parts import Reading
from anchoredit_jax.data.strips import draw_strip, stack_strips
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import blake2b

SHOWN = 12  # sessions on the sheet
_LINES = 3  # of a reason
_SIZES = 8  # sizes that are told one by one


@dataclasses.dataclass
class Inspection:
    """Counts over a source.

    Attributes:
      source: how it was read, one line.
      sessions: sound ones.
      turns, sizes, languages: value -> sound sessions that have it; a size is "height x
        width" of a source image in pixels.
      repeated_images: images of which an earlier session has the very file.
      repeated_sessions: sessions of which an earlier one has all files, in order.
      dropped: reason -> how many.
      bad: the first lines on each of these.
      gaps: turns that begin from another image than the one before ended with.
      notes: lines on what was read though it is not as it should be, how many.
      ignored: hidden and system files, how many.
    """

    source: str
    sessions: int = 0
    turns: Counter[int] = dataclasses.field(default_factory=Counter)
    sizes: Counter[str] = dataclasses.field(default_factory=Counter)
    languages: Counter[str] = dataclasses.field(default_factory=Counter)
    repeated_images: int = 0
    repeated_sessions: int = 0
    dropped: Counter[str] = dataclasses.field(default_factory=Counter)
    bad: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    gaps: int = 0
    notes: int = 0
    ignored: int = 0

    def describe(self) -> str:
        """A few lines: every count, with the first of what is wrong."""
        sizes = self.sizes.most_common(_SIZES)
        more = len(self.sizes) - len(sizes)
        told = [f"{size}: {count}" for size, count in sizes]
        told += [f"and {more} other sizes"] if more > 0 else []
        lines = [
            self.source,
            f"sound sessions: {self.sessions}",
            f"turns: {_counts(self.turns)}",
            f"sizes: {', '.join(told) or 'none'}",
            f"languages: {_counts(self.languages)}",
            f"images that an earlier session has too: {self.repeated_images}",
            f"sessions that are an earlier one again: {self.repeated_sessions}",
            f"turns that begin from another image: {self.gaps}",
            f"read, though not as it should be: {self.notes}",
            f"files of no session: {self.ignored}",
            f"broken: {sum(self.dropped.values()) or 'none'}",
        ]
        for reason, count in sorted(self.dropped.items()):
            lines.append(f"  {reason}: {count}")
            lines += [f"    {line}" for line in self.bad[reason]]
        return "\n".join(lines)

    def add(self, found: RawSession | Dropped) -> None:
        """Count what a reader gave, but for its digests."""
        if isinstance(found, Dropped) and found.reason == IGNORED:
            self.ignored += 1
        elif isinstance(found, Dropped):
            self.dropped[found.reason] += 1
            lines = self.bad.setdefault(found.reason, [])
            if len(lines) < _LINES:
                lines.append(f"{found.origin}: {found.key}: {found.detail}")
        else:
            self.sessions += 1
            self.turns[len(found.images) - 1] += 1
            self.sizes["{} x {}".format(*found.sizes[0])] += 1
            self.languages.update(list(found.instructions))
            self.gaps += found.gaps
            self.notes += len(found.notes)


def inspect(
    source: str | Path,
    reading: Reading | None = None,
    links: str = "follow",
    languages: Sequence[str] = (ALL,),
    progress: Callable[[int, int], None] = lambda done, parts: None,
) -> tuple[Inspection, bytes]:
    """Read all of a source and write nothing.

    Args:
      source, reading, links: see `open_source`.
      languages: those that sessions are counted by; all by default.
      progress: called with the number of parts read, and of all.

    Returns:
      The counts, and `SHOWN` sessions of the source on a sheet, a PNG file: always the
      same ones, from anywhere in it.

    Raises:
      UserError: there is no source, or not one sound session in it.
    """
    opened = open_source(source, reading, links)
    result = Inspection(opened.told)
    images: set[str] = set()
    whole: set[str] = set()
    shown: list[tuple[int, int, Image.Image]] = []  # a heap of the smallest hashes
    for done, part in enumerate(opened.parts, 1):
        for found in read_part(part, languages):
            result.add(found)
            if isinstance(found, Dropped):
                continue
            digests = [blake2b(data) for data in found.images]
            result.repeated_images += sum(digest in images for digest in digests)
            images.update(digests)
            session = blake2b("".join(digests).encode())
            result.repeated_sessions += session in whole
            whole.add(session)
            rank = (-key_of("sheet", found.key), result.sessions)
            if len(shown) < SHOWN or rank > shown[0][:2]:
                texts = " | ".join(next(iter(found.instructions.values())))
                strip = draw_strip(found.images, f"{found.key}: {texts}")
                push = heapq.heappush if len(shown) < SHOWN else heapq.heapreplace
                push(shown, (*rank, strip))
        progress(done, len(opened.parts))
    if not shown:
        raise UserError(
            f"{str(source)!r} holds not one sound session\n" + result.describe()
        )
    ordered = sorted(shown, key=lambda entry: entry[1])
    return result, stack_strips([strip for _, _, strip in ordered])


def _counts(counts: Counter) -> str:
    return ", ".join(f"{key}: {counts[key]}" for key in sorted(counts)) or "none"
