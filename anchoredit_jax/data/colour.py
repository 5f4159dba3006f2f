"""Colours of any profile as sRGB, in which the model sees and pictures are written."""

import functools
import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from anchoredit_jax.data.adobe_rgb import adobe_rgb_profile

Tell = Callable[[str], object]

log = logging.getLogger(__name__)

# A profile that moves no colour by more than this is sRGB under another name: pixels
# then stay as they are, bit for bit.
_SAME = 2
_MODES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}
_REMEMBERED = 64  # transforms; cameras and programs have a few profiles each


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB; the same bytes always."""
    profile = bytearray(
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    profile[24:36] = bytes.fromhex("07d000010001000000000000")  # made in 2000
    profile[84:100] = bytes(16)  # the digest, which is optional
    return bytes(profile)


def srgb_image(pixels: np.ndarray) -> Image.Image:
    """uint8 [H, W, 3] as an image that is saved with its profile, sRGB."""
    image = Image.fromarray(pixels)
    image.info["icc_profile"] = srgb_profile()
    return image


def to_srgb(
    image: Image.Image,
    name: str,
    tell: Tell = log.warning,
    adobe_rgb: bool = False,
) -> Image.Image:
    """An image without transparency by its own profile: sRGB where it has one.

    A profile that is broken, or of another kind of image, is told and left out: the
    pixels are taken for sRGB, as those of an image without a profile are.

    Args:
      image: of a mode that a profile can describe; others are returned as they are.
      name: what the message calls it.
      tell: is given the message.
      adobe_rgb: RGB pixels without a profile are in Adobe RGB.
    """
    profile = image.info.get("icc_profile")
    if not profile and adobe_rgb and image.mode == "RGB":
        profile = adobe_rgb_profile()
    if not profile or image.mode not in _MODES:
        return image
    transform = _transform(bytes(profile), image.mode)
    if isinstance(transform, str):
        tell(f"the colour profile of {name} {transform}: its colours count as sRGB")
        return image
    return image if transform is None else ImageCms.applyTransform(image, transform)


@functools.lru_cache(_REMEMBERED)
def _transform(profile: bytes, mode: str) -> Any:
    """From a profile to sRGB; None where both are the same, a text where it is none."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space
        if space != _MODES[mode]:
            return f"is of {space.strip()}, its pixels are {mode}"
        transform = ImageCms.buildTransform(
            source,
            ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile())),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return f"is broken ({' '.join(str(error).split())})"
    if mode not in ("RGB", "L"):
        return transform
    colours = _colours(mode)
    there = np.asarray(ImageCms.applyTransform(colours, transform), np.int16)
    here = np.asarray(colours.convert("RGB"), np.int16)
    return None if np.abs(there - here).max() <= _SAME else transform


def _colours(mode: str) -> Image.Image:
    """An image of colours from all over the space."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(levels[None])
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1)
    return Image.fromarray(cube.reshape(len(levels), -1, 3))
