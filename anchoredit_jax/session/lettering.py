"""Text on pictures, in the scripts that instructions are written in; never boxes.

DejaVu Sans, which matplotlib brings along, has Latin, Greek, Cyrillic and more.
Chinese, Japanese and Korean come from a font of the system, where there is one. What no
font has is written as its escape, such as \\u4e2d.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from PIL import ImageDraw, ImageFont

DEJAVU = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
_CJK = re.compile(
    r"CJK|Han Sans|Noto Sans (SC|TC|HK|JP|KR)|WenQuanYi|Droid Sans Fallback|PingFang"
    r"|Hiragino|Heiti|YaHei|SimHei|SimSun|IPA.*Gothic|UMing|Nanum|Malgun|Arial Unicode"
)


@dataclasses.dataclass(frozen=True)
class Lettering:
    """Letters of one size, in pixels."""

    size: int

    def getlength(self, text: str) -> float:
        """How wide a line is, in pixels."""
        return sum(font.getlength(part) for font, part in self._parts(text))

    def draw(
        self,
        draw: ImageDraw.ImageDraw,
        place: tuple[float, float],
        text: str,
        colour: tuple[int, int, int],
    ) -> None:
        """Write a line; `place` is its upper left corner."""
        left, top = place
        baseline = top + _font(DEJAVU, self.size).getmetrics()[0]
        for font, part in self._parts(text):
            draw.text((left, baseline), part, colour, font, anchor="ls")
            left += font.getlength(part)

    def wrap(self, text: str, width: float) -> list[str]:
        """Lines no wider than `width` pixels, broken between words where that is
        possible and inside of a word where it is not."""
        lines = [""]
        for word in text.split():
            spaced = f"{lines[-1]} {word}" if lines[-1] else word
            if self.getlength(spaced) <= width:
                lines[-1] = spaced
                continue
            if lines[-1]:
                lines.append("")
            for letter in word:
                if lines[-1] and self.getlength(lines[-1] + letter) > width:
                    lines.append("")
                lines[-1] += letter
        return lines

    def _parts(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        """The text cut where its font changes."""
        known = [(_file_with(letter), letter) for letter in text]
        written = [
            (file or DEJAVU, letter if file else _escape(letter))
            for file, letter in known
        ]
        for file, part in itertools.groupby(written, key=lambda pair: pair[0]):
            yield _font(file, self.size), "".join(letter for _, letter in part)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


@functools.lru_cache(maxsize=4096)
def _file_with(letter: str) -> str | None:
    """The font file that has the letter, None if none has."""
    if ord(letter) in _letters(DEJAVU):
        return DEJAVU
    return next(
        (file for file in system_fonts() if ord(letter) in _letters(file)), None
    )


@functools.cache
def system_fonts() -> tuple[str, ...]:
    """Files of the system's fonts for Chinese, Japanese and Korean."""
    from matplotlib import font_manager  # searches the disk

    fonts = font_manager.fontManager.ttflist
    return tuple(sorted({font.fname for font in fonts if _CJK.search(font.name)}))


@functools.cache
def _letters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(file).get_charmap())


@functools.cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)
