"""Sessions as strips of small images, stacked on one picture to look at."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from anchoredit_jax.data.colour import srgb_profile
from anchoredit_jax.data.images import decode_image

SIDE = 128  # of a small image, in pixels
_GAP, _LINE = 4, 14
_MOST = 12  # images of a strip
WHITE, INK = (255, 255, 255), (30, 30, 30)


def draw_strip(images: Sequence[bytes], label: str) -> Image.Image:
    """The first images of a session side by side, below a line of text.

    Args:
      images: encoded files that can be decoded.
      label: as much of it as fits is written; what the font lacks becomes "?".
    """
    count = min(len(images), _MOST)
    width = count * (SIDE + _GAP) + _GAP
    strip = Image.new("RGB", (width, SIDE + _LINE + 2 * _GAP), WHITE)
    line = label.encode("latin-1", "replace").decode("latin-1").replace("\n", " ")
    ImageDraw.Draw(strip).text((_GAP, _GAP), line[: width // 6], fill=INK)
    for place, data in enumerate(images[:count]):
        small = Image.fromarray(decode_image(data, tell=lambda _: None))
        small.thumbnail((SIDE, SIDE))
        strip.paste(small, (_GAP + place * (SIDE + _GAP), _LINE + _GAP))
    return strip


def stack_strips(strips: Sequence[Image.Image]) -> bytes:
    """Strips below each other, as a PNG file."""
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips)), WHITE)
    tops = np.cumsum([0, *(strip.height for strip in strips)]).tolist()
    for strip, top in zip(strips, tops, strict=False):
        sheet.paste(strip, (0, top))
    out = io.BytesIO()
    sheet.save(out, "PNG", icc_profile=srgb_profile())
    return out.getvalue()
