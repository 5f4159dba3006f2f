"""The images of a benchmark: whether they are sound, and the files they become."""

import dataclasses
import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anchoredit_jax import files
from anchoredit_jax.data.images import MAX_ASPECT, decode_image, identify
from anchoredit_jax.data.sessions.raw import MAX_IMAGE_BYTES
from anchoredit_jax.errors import UserError, noting

# MPO is what phones write: a JPEG with more images behind it.
_COPIED = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image that was found sound.

    Attributes:
      path: of its file.
      digest: sha256 of the file.
      ending: of its copy; None if it has to be converted, as readers without the policy
        of `data.images` would see other pixels in it.
    """

    path: Path
    digest: str
    ending: str | None


def check_pictures(
    paths: Mapping[str, Path],
    min_side: int,
    problems: list[str],
    shown: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> dict[str, Picture]:
    """Session -> image, of those that are sound.

    Args:
      min_side: pixels of the shorter side, orientation applied.
      problems: takes a line for every image that cannot be decoded, is too small, a
        strip, or has the pixels of another.
      shown: goes through the images and shows how far it has come.
    """
    pictures: dict[str, Picture] = {}
    seen: dict[str, Path] = {}
    for name, path in shown(list(paths.items())):
        with noting(problems, path.name):
            data = _read(path)
            pixels = decode_image(data, name=path.name)
            _check_size(pixels, min_side)
            content = files.sha256(str(pixels.shape).encode(), pixels.data)
            other = seen.setdefault(content, path)
            if other != path:
                raise UserError(f"it has the pixels of {other.name!r}: remove one")
            pictures[name] = Picture(path, files.sha256(data), _ending(data, pixels))
    return pictures


def encode_picture(picture: Picture) -> tuple[bytes, str]:
    """(the image's file in the benchmark, its ending).

    Raises:
      UserError: the file was changed since it was checked, or is larger than readers
        take.
    """
    data, ending = _read(picture.path), picture.ending
    if files.sha256(data) != picture.digest:
        raise UserError(f"{str(picture.path)!r} was changed while it was read")
    if ending is None:
        buffer, ending = io.BytesIO(), "png"
        Image.fromarray(decode_image(data)).save(buffer, "PNG")
        data = buffer.getvalue()
    if len(data) > MAX_IMAGE_BYTES:
        raise UserError(
            f"{str(picture.path)!r} takes {len(data)} bytes as .{ending}, readers take "
            f"at most {MAX_IMAGE_BYTES}: shrink it"
        )
    return data, ending


def _check_size(pixels: np.ndarray, min_side: int) -> None:
    height, width = pixels.shape[:2]
    short, long = sorted((height, width))
    if short < min_side:
        raise UserError(
            f"{width} x {height} pixels: the shorter side must have {min_side} or more"
        )
    if long > MAX_ASPECT * short:
        raise UserError(
            f"{width} x {height} pixels is a strip: one side may be at most "
            f"{MAX_ASPECT} times the other"
        )


def _ending(data: bytes, pixels: np.ndarray) -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged metadata does not matter
        with identify(io.BytesIO(data), len(data), "image") as image:
            if image.format not in _COPIED or image.mode != "RGB":
                return None
            same = np.array_equal(np.asarray(image), pixels)
    return _COPIED[image.format] if same else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path.name!r} cannot be read: {error.strerror}") from error
