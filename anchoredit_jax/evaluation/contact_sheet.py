"""Rows of frames with captions, as one picture."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WHITE, INK, GREY = (255, 255, 255), (30, 30, 30), (120, 120, 120)
RIGHT, WRONG = (30, 150, 70), (205, 45, 45)
_GAP = 10
_BORDER = 4


@dataclasses.dataclass(frozen=True)
class SheetRow:
    """One line of frames.

    Attributes:
      label: written to the left.
      images: uint8 [T, H, W, 3].
      marks: per frame True (green frame), False (red frame) or None (no frame); empty:
        none at all.
    """

    label: str
    images: np.ndarray
    marks: Sequence[bool | None] = ()


def draw_sheet(
    rows: Sequence[SheetRow],
    captions: Sequence[str],
    *,
    title: str = "",
    cell: int = 96,
) -> Image.Image:
    """Draw rows of equally many frames, a caption above each column.

    Args:
      captions: one per column, wrapped to the column's width.
      cell: longer side of a frame in the picture, in pixels, about; enlarged without
        smoothing.
    """
    sides = rows[0].images.shape[1:3]
    scale = max(1, round(cell / max(sides)))
    cell_height, cell_width = (scale * side for side in sides)
    font, small = ImageFont.load_default(14), ImageFont.load_default(12)
    bold = ImageFont.load_default(18)
    label_lines = [_wrap(row.label, font, 130) for row in rows]
    caption_lines = [_wrap(caption, small, cell_width) for caption in captions]
    left = 2 * _GAP + max(_width(line, font) for part in label_lines for line in part)
    top = _GAP + (bold.size + 2 * _GAP if title else 0)
    head = max(len(lines) for lines in caption_lines) * 15 + 6
    width = left + len(captions) * (cell_width + _GAP) + _GAP
    height = top + head + len(rows) * (cell_height + _GAP) + _GAP
    if title:
        width = max(width, _width(title, bold) + 2 * _GAP)
    sheet = Image.new("RGB", (width, height), WHITE)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_GAP, _GAP), title, INK, bold)
    for column, lines in enumerate(caption_lines):
        x = left + column * (cell_width + _GAP)
        for number, line in enumerate(lines):
            # Captions stand on the frames: the last line is the lowest one.
            y = top + head - 6 - 15 * (len(lines) - number)
            draw.text((x, y), line, GREY if column == 0 else INK, small)
    for number, (row, lines) in enumerate(zip(rows, label_lines, strict=True)):
        y = top + head + number * (cell_height + _GAP)
        text_top = y + (cell_height - 17 * len(lines)) // 2
        for line_number, line in enumerate(lines):
            draw.text((_GAP, text_top + 17 * line_number), line, INK, font)
        for column, image in enumerate(row.images):
            x = left + column * (cell_width + _GAP)
            enlarged = np.repeat(np.repeat(image, scale, 0), scale, 1)
            sheet.paste(Image.fromarray(enlarged), (x, y))
            mark = row.marks[column] if row.marks else None
            if mark is not None:
                right, bottom = x + cell_width + 3, y + cell_height + 3
                box = (x - _BORDER, y - _BORDER, right, bottom)
                draw.rectangle(box, outline=RIGHT if mark else WRONG, width=_BORDER)
    return sheet


def stack_sheets(sheets: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other, aligned to the left on white."""
    width = max(sheet.width for sheet in sheets)
    stacked = Image.new("RGB", (width, sum(sheet.height for sheet in sheets)), WHITE)
    y = 0
    for sheet in sheets:
        stacked.paste(sheet, (0, y))
        y += sheet.height
    return stacked


def _wrap(text: str, font, width: int) -> list[str]:
    """Lines of whole words, none wider than `width` unless one word is."""
    lines: list[str] = []
    for word in text.split():
        if lines and _width(f"{lines[-1]} {word}", font) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _width(text: str, font) -> int:
    return int(np.ceil(font.getlength(text)))
