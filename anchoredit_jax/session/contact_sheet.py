"""All turns of a session on one picture, each with its instruction below it."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anchoredit_jax.data.images import resize

SMALLEST, LARGEST = 192, 320  # a frame's longer side on the sheet, in pixels
WHITE, INK = (255, 255, 255), (30, 30, 30)
_GAP, _FONT_SIZE, _LINE = 14, 15, 19


def draw_contact_sheet(
    images: Sequence[np.ndarray], captions: Sequence[str], columns: int | None = None
) -> Image.Image:
    """Draw frames row by row with wrapped captions.

    Args:
      images: uint8 [H, W, 3], all of one size. Tiny ones are enlarged by repeating
        pixels, large ones shrunk.
      captions: one per image.
      columns: frames in a row; by default about as many as make a wide page.
    """
    frames = [to_sheet_size(image) for image in images]
    height, width = frames[0].shape[:2]
    cell_width = max(width, SMALLEST)
    font = load_font(_FONT_SIZE)
    lines = [wrap(caption, font, cell_width) for caption in captions]
    columns = columns or math.ceil(math.sqrt(1.6 * len(frames)))
    columns = min(columns, len(frames))
    rows = range(0, len(frames), columns)
    deepest = [max(map(len, lines[row : row + columns])) for row in rows]
    heights = [height + depth * _LINE + 2 * _GAP for depth in deepest]
    page = (columns * (cell_width + _GAP) + _GAP, sum(heights) + _GAP)
    sheet = Image.new("RGB", page, WHITE)
    draw = ImageDraw.Draw(sheet)
    for row, top in zip(rows, np.cumsum([_GAP, *heights]).tolist(), strict=False):
        for column in range(min(columns, len(frames) - row)):
            left = _GAP + column * (cell_width + _GAP)
            sheet.paste(Image.fromarray(frames[row + column]), (left, top))
            for number, line in enumerate(lines[row + column]):
                y = top + height + 5 + number * _LINE
                draw.text((left, y), line, INK, font)
    return sheet


def to_sheet_size(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] as large as the sheet shows it."""
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer > LARGEST:
        factor = LARGEST / longer
        return resize(
            image, (max(1, round(height * factor)), max(1, round(width * factor)))
        )
    factor = max(1, round(SMALLEST / longer))
    return image.repeat(factor, 0).repeat(factor, 1)


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels, broken between words where that is possible
    and inside of a word where it is not."""
    lines = [""]
    for word in text.split():
        spaced = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(spaced) <= width:
            lines[-1] = spaced
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: Latin, Greek, Cyrillic and more."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / "DejaVuSans.ttf", size)
