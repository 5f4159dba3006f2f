"""Frames with their captions on one picture: of one session, or of several runs."""

import dataclasses
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from anchoredit_jax.data.colour import srgb_profile
from anchoredit_jax.data.images import resize
from anchoredit_jax.session.lettering import Lettering

SMALLEST, LARGEST = 192, 320  # a frame's longer side on a session's sheet, in pixels
WHITE, INK, GREY = (255, 255, 255), (30, 30, 30), (120, 120, 120)
RIGHT, WRONG = (30, 150, 70), (205, 45, 45)
_GAP, _FONT, _LINE = 14, Lettering(15), 19
# Of several runs.
_CLOSE, _BORDER, _LABEL_WIDTH = 10, 4, 130
_TITLE, _LABEL, _CAPTION = Lettering(18), Lettering(14), Lettering(12)
_LABEL_LINE, _CAPTION_LINE = 17, 15


def draw_contact_sheet(
    images: Sequence[np.ndarray], captions: Sequence[str], columns: int | None = None
) -> Image.Image:
    """Draw the frames of one session row by row, each with its caption below it.

    Args:
      images: uint8 [H, W, 3], all of one size. Tiny ones are enlarged by repeating
        pixels, large ones shrunk.
      captions: one per image, wrapped.
      columns: frames in a row; by default about as many as make a wide page.
    """
    frames = [to_sheet_size(image) for image in images]
    height, width = frames[0].shape[:2]
    cell_width = max(width, SMALLEST)
    lines = [_FONT.wrap(caption, cell_width) for caption in captions]
    columns = columns or math.ceil(math.sqrt(1.6 * len(frames)))
    columns = min(columns, len(frames))
    rows = range(0, len(frames), columns)
    deepest = [max(map(len, lines[row : row + columns])) for row in rows]
    heights = [height + depth * _LINE + 2 * _GAP for depth in deepest]
    page = (columns * (cell_width + _GAP) + _GAP, sum(heights) + _GAP)
    sheet = Image.new("RGB", page, WHITE)
    sheet.info["icc_profile"] = srgb_profile()
    draw = ImageDraw.Draw(sheet)
    for row, top in zip(rows, np.cumsum([_GAP, *heights]).tolist(), strict=False):
        for column in range(min(columns, len(frames) - row)):
            left = _GAP + column * (cell_width + _GAP)
            sheet.paste(Image.fromarray(frames[row + column]), (left, top))
            below = top + height + 5
            _write(draw, (left, below), lines[row + column], _FONT, _LINE)
    return sheet


def sheet_png(images: Sequence[np.ndarray], captions: Sequence[str]) -> bytes:
    """`draw_contact_sheet` as the bytes of a PNG, which a notebook shows."""
    file = io.BytesIO()
    draw_contact_sheet(images, captions).save(file, format="png")
    return file.getvalue()


def to_sheet_size(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] as large as a session's sheet shows it."""
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer > LARGEST:
        factor = LARGEST / longer
        return resize(
            image, (max(1, round(height * factor)), max(1, round(width * factor)))
        )
    return _enlarged(image, max(1, round(SMALLEST / longer)))


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
    """Draw rows of equally many frames, one a run, a caption above each column.

    Args:
      captions: one per column, wrapped to the column's width.
      cell: longer side of a frame in the picture, in pixels, about; enlarged without
        smoothing.
    """
    sides = rows[0].images.shape[1:3]
    scale = max(1, round(cell / max(sides)))
    cell_height, cell_width = (scale * side for side in sides)
    labels = [_LABEL.wrap(row.label, _LABEL_WIDTH) for row in rows]
    heads = [_CAPTION.wrap(caption, cell_width) for caption in captions]
    widest = max(_LABEL.getlength(line) for lines in labels for line in lines)
    left = 2 * _CLOSE + math.ceil(widest)
    top = _CLOSE + (_TITLE.size + 2 * _CLOSE if title else 0)
    head = max(map(len, heads)) * _CAPTION_LINE + 6
    width = left + len(captions) * (cell_width + _CLOSE) + _CLOSE
    height = top + head + len(rows) * (cell_height + _CLOSE) + _CLOSE
    width = max(width, math.ceil(_TITLE.getlength(title)) + 2 * _CLOSE)
    sheet = Image.new("RGB", (width, height), WHITE)
    sheet.info["icc_profile"] = srgb_profile()
    draw = ImageDraw.Draw(sheet)
    _TITLE.draw(draw, (_CLOSE, _CLOSE), title, INK)
    for column, lines in enumerate(heads):
        # Captions stand on the frames: the last line is the lowest one.
        place = (
            left + column * (cell_width + _CLOSE),
            top + head - 6 - _CAPTION_LINE * len(lines),
        )
        _write(draw, place, lines, _CAPTION, _CAPTION_LINE, INK if column else GREY)
    for number, (row, lines) in enumerate(zip(rows, labels, strict=True)):
        y = top + head + number * (cell_height + _CLOSE)
        middle = y + (cell_height - _LABEL_LINE * len(lines)) // 2
        _write(draw, (_CLOSE, middle), lines, _LABEL, _LABEL_LINE)
        for column, image in enumerate(row.images):
            x = left + column * (cell_width + _CLOSE)
            sheet.paste(Image.fromarray(_enlarged(image, scale)), (x, y))
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
    stacked.info["icc_profile"] = srgb_profile()
    y = 0
    for sheet in sheets:
        stacked.paste(sheet, (0, y))
        y += sheet.height
    return stacked


def _enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, 0).repeat(factor, 1)


def _write(draw, place, lines, lettering: Lettering, step: int, colour=INK) -> None:
    left, top = place
    for number, line in enumerate(lines):
        lettering.draw(draw, (left, top + number * step), line, colour)
