"""Any image a person has, as the model wants it, and back.

The policy, applied by `decode_image` in this order:

- Formats: those of `FORMATS`; anything else, a text file named .png included, is
  refused. At most `MAX_PIXELS` pixels, checked before any of them is decoded.
- Several frames (GIF, APNG, TIFF, MPO): the first one counts.
- Deep grey is scaled to 8 bits by range, never cut: 16 bits by 65535, float by 1, and
  values beyond these by the range that the image uses.
- Palettes are expanded; grey, CMYK, YCbCr and Lab become RGB, by the embedded colour
  profile where there is one, else by EXIF data that say Adobe RGB: the result is sRGB
  (`colour`). Transparency, however it is stored, is composited on white (`background`).
- The EXIF orientation is applied, so size and crop are those a viewer shows.

A damaged file is refused whole, never half-decoded. Every refusal is a `UserError` of
one line that names the file.

`fit_image` then cuts the largest centred rectangle of the model's aspect and resizes
it; `map_back` and `paste_back` are the way back. Boxes are whole pixels, resizing keeps
pixel areas aligned: there is no half-pixel shift in either direction.
"""

import dataclasses
import functools
import io
import math
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from anchoredit_jax.data.adobe_rgb import is_adobe_rgb
from anchoredit_jax.data.colour import Tell, log, to_srgb
from anchoredit_jax.errors import UserError

Colour = tuple[int, int, int]
Source = str | os.PathLike | bytes | Image.Image | np.ndarray

FORMATS = tuple("PNG JPEG MPO WEBP AVIF GIF BMP TIFF PPM JPEG2000".split())
MAX_PIXELS = 80_000_000
MIN_SIDE = 8
MAX_ASPECT = 20
WHITE = (255, 255, 255)

EXIF_ORIENTATION = 0x0112
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged data (AVIF RuntimeError, TIFF TypeError).
DAMAGE = (
    *(OSError, SyntaxError, ValueError, struct.error, EOFError, LookupError),
    *(RuntimeError, TypeError, ArithmeticError, MemoryError),
)


class TooLargeError(UserError):
    """An image of more than `MAX_PIXELS` pixels; it may be sound."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """Where the model's image lies in the source.

    Attributes:
      source: (height, width) of the decoded source.
      box: (left, top, right, bottom) of the crop in the source, whole pixels.
      size: (height, width) of the model's image.
    """

    source: tuple[int, int]
    box: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def box_size(self) -> tuple[int, int]:
        """(height, width) of the crop in the source."""
        left, top, right, bottom = self.box
        return bottom - top, right - left

    @property
    def scale(self) -> tuple[float, float]:
        """Model pixels per source pixel, (vertical, horizontal)."""
        height, width = self.box_size
        return self.size[0] / height, self.size[1] / width

    @property
    def kept(self) -> float:
        """Share of the source's pixels that lie in the crop."""
        return math.prod(self.box_size) / math.prod(self.source)

    def describe(self) -> str:
        """What becomes of an image, in a line: its size, the one that it is edited at,
        and where what is kept of it lies."""
        (height, width), (rows, columns) = self.source, self.size
        (kept_rows, kept_columns), (left, top, *_) = self.box_size, self.box
        percent = math.floor(1000 * self.kept) / 10  # 100.0 % means all of them
        return (
            f"{width} x {height}, edited at {columns} x {rows}, {percent} % of its "
            f"pixels kept ({kept_columns} x {kept_rows} from {left}, {top})"
        )


def decode_image(
    source: Source,
    background: Colour = WHITE,
    name: str = "bytes",
    tell: Tell = log.warning,
) -> np.ndarray:
    """An image as uint8 [H, W, 3], by the policy above.

    Args:
      source: a file's path, a file's content, a Pillow image, or an array: uint8
        [H, W] or [H, W, 1, 3 or 4], or uint16 [H, W].
      background: RGB that transparent pixels are composited on.
      name: what refusals call an image given as a file's content.
      tell: is given a line about a colour profile that cannot be used.

    Raises:
      UserError: no such file, not an image, damaged, too large (`TooLargeError`), or
        an array of another kind.
    """
    if isinstance(source, Image.Image):
        return _decode(source, "the given image", background, tell)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not os.path.isfile(path):  # nor is a name that no disk takes
            state = "is not a file" if os.path.exists(path) else "does not exist"
            raise UserError(f"image {str(path)!r} {state}")
        with identify(path, path.stat().st_size, repr(str(path))) as image:
            return _decode(image, f"image {os.fspath(source)!r}", background, tell)
    if isinstance(source, bytes):
        with identify(io.BytesIO(source), len(source), repr(name)) as image:
            return _decode(image, f"image {name!r}", background, tell)
    array = np.asarray(source)
    return _decode(_from_array(array), "the given array", background, tell)


def fit_image(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, Crop]:
    """Cut the largest centred rectangle of the aspect of `size` and resize it.

    Args:
      image: uint8 [H, W, 3].
      size: (height, width) of the model.

    Returns:
      (uint8 [height, width, 3], the crop).

    Raises:
      UserError: a side below `MIN_SIDE`, or a strip longer than `MAX_ASPECT` times its
        width: next to nothing of it would be left.
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise UserError(
            f"image of {width} x {height} pixels is too small: both sides must be at "
            f"least {MIN_SIDE}"
        )
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise UserError(
            f"image of {width} x {height} pixels is a strip: one side may be at most "
            f"{MAX_ASPECT} times the other, crop it first"
        )
    box = crop_box((height, width), size)
    left, top, right, bottom = box
    return resize(image[top:bottom, left:right], size), Crop(
        (height, width), box, tuple(size)
    )


def crop_box(
    source: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The largest centred rectangle of an aspect: (left, top, right, bottom), pixels.

    Sides are rounded to the nearest pixel (halves to even), at least one; where the
    margin is odd, the smaller half is left and above.

    Args:
      source: (height, width) of the image it is cut from.
      size: (height, width) whose aspect it takes.
    """
    height, width = source
    box_height = min(height, max(1, round(width * size[0] / size[1])))
    box_width = min(width, max(1, round(height * size[1] / size[0])))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return left, top, left + box_width, top + box_height


def map_back(image: np.ndarray, crop: Crop) -> np.ndarray:
    """The model's image uint8 [h, w, 3] at the size of the crop in the source."""
    return resize(image, crop.box_size)


def paste_back(image: np.ndarray, crop: Crop, source: np.ndarray) -> np.ndarray:
    """The decoded source, uint8 [H, W, 3], with the crop replaced by `image`."""
    if source.shape[:2] != tuple(crop.source):
        raise UserError(
            f"the crop was taken from an image of {crop.source[1]} x {crop.source[0]} "
            f"pixels, given one of {source.shape[1]} x {source.shape[0]}"
        )
    left, top, right, bottom = crop.box
    pasted = source.copy()
    pasted[top:bottom, left:right] = map_back(image, crop)
    return pasted


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] at (height, width): the mean of whole pixels where the image
    shrinks by a whole number (so an enlarged pixel picture comes back exactly), else
    Lanczos with antialiasing. The same size is the same image."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    whole = image.shape[0] % height == 0 and image.shape[1] % width == 0
    method = Image.Resampling.BOX if whole else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(image).resize((width, height), method))


@contextmanager
def identify(file: Path | io.BytesIO, size: int, name: str) -> Iterator[Image.Image]:
    """The image behind a file's header; no pixel is decoded.

    Args:
      size: the bytes of the file.
      name: what errors call it.

    Raises:
      UserError: not an image that can be read, or far too large.
    """
    if size == 0:
        raise UserError(f"image {name} is empty (0 bytes)")
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked in `_decode`
            image = Image.open(file, formats=formats)
    except UnidentifiedImageError:
        raise UserError(
            f"{name} is not an image that can be read; formats: " + ", ".join(formats)
        ) from None
    except Image.DecompressionBombError:
        raise TooLargeError(_too_large(f"image {name}", "far more")) from None
    except DAMAGE as error:
        raise UserError(f"image {name} cannot be read: {_line(error)}") from error
    with image:
        yield image


def _decode(
    image: Image.Image, name: str, background: Colour, tell: Tell
) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise TooLargeError(_too_large(name, f"{width} x {height}"))
    if not width * height:
        raise UserError(f"{name} has no pixels ({width} x {height})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata does not matter
            image.load()
            turned = _upright(image)
            coloured = functools.partial(
                to_srgb, name=name, tell=tell, adobe_rgb=_says_adobe_rgb(image)
            )
            rgb = _to_rgb(turned, background, coloured)
    except DAMAGE as error:
        raise UserError(f"{name} is damaged: {_line(error)}") from error
    return np.array(rgb, np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it; unreadable EXIF data means no orientation."""
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
    except DAMAGE:
        orientation = None
    transpose = ORIENTATIONS.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def _says_adobe_rgb(image: Image.Image) -> bool:
    try:
        return is_adobe_rgb(image)
    except (*DAMAGE, AttributeError):  # EXIF data that Pillow cannot read say nothing
        return False


def _to_rgb(
    image: Image.Image,
    background: Colour,
    coloured: Callable[[Image.Image], Image.Image],
) -> Image.Image:
    """RGB; `coloured` makes sRGB of an image with a profile and no transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        flat = Image.fromarray(_eight_bits(np.asarray(image)))
        flat.info = image.info
        return coloured(flat).convert("RGB")
    if not image.has_transparency_data:
        if image.mode in ("P", "YCbCr"):
            image = image.convert("RGB")
        return coloured(image).convert("RGB")
    if image.mode == "La":  # premultiplied: no direct way to RGBA
        image = image.convert("LA")
    rgba = image.convert("RGBA")
    flat = image.convert("L" if image.mode in ("L", "LA") else "RGB")
    flat = coloured(flat).convert("RGB")
    flat.putalpha(rgba.getchannel("A"))
    canvas = Image.new("RGBA", rgba.size, (*background, 255))
    return Image.alpha_composite(canvas, flat).convert("RGB")


def _eight_bits(deep: np.ndarray) -> np.ndarray:
    """Grey of more than 8 bits [H, W] -> uint8, scaled by range."""
    values = np.nan_to_num(deep.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0  # 16 bits, also where a reader widened them
    if np.issubdtype(deep.dtype, np.floating):
        high = 1.0
    if values.min() < low or values.max() > high:
        low, high = values.min(), values.max()
    return np.round((values - low) * (255.0 / (high - low))).astype(np.uint8)


def _from_array(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    deep = array.dtype == np.uint16 and array.ndim == 2
    byte = array.dtype == np.uint8 and array.ndim in (2, 3) and channels in (1, 3, 4)
    if not (deep or byte) or 0 in array.shape:
        raise UserError(
            "expected an image array of uint8 [H, W], [H, W, 1, 3 or 4] or uint16 "
            f"[H, W], given {array.dtype} {list(array.shape)}"
        )
    flat = array[..., 0] if array.ndim == 3 and channels == 1 else array
    return Image.fromarray(np.ascontiguousarray(flat))


def _too_large(name: str, size: str) -> str:
    return (
        f"{name} is too large: {size} pixels, at most {MAX_PIXELS:,} are decoded; "
        "shrink it first"
    )


def _line(error: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__
