"""Photographs in Adobe RGB that say so by EXIF alone, as many cameras write them."""

import functools
import struct

from PIL import ExifTags, Image

# EXIF 2.3 and DCF 2.0: a colour space that is not sRGB, and the "option file" R03.
_UNCALIBRATED = 65535
_INDEX, _ADOBE = 1, "R03"
# Of Adobe RGB (1998): columns of the primaries adapted to D50, and the gamma.
_PRIMARIES = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}
_GAMMA = 563  # over 256
_D50 = (0.9642, 1.0, 0.8249)


def is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF data say that an image is in Adobe RGB.

    Raises:
      What Pillow raises on damaged EXIF data, see `images.DAMAGE`.
    """
    exif = image.getexif()
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    if inner.get(ExifTags.Base.ColorSpace) != _UNCALIBRATED:
        return False
    if ExifTags.IFD.Interop not in inner:
        return False
    index = exif.get_ifd(ExifTags.IFD.Interop).get(_INDEX)
    text = index.decode("latin-1") if isinstance(index, bytes) else str(index)
    return text.rstrip("\0 ") == _ADOBE


@functools.cache
def adobe_rgb_profile() -> bytes:
    """An ICC profile (version 2) of Adobe RGB."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, _GAMMA) + bytes(2)
    name = b"Adobe RGB (1998)\0"
    said = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78)
    tags = {
        b"desc": said,
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": _xyz(_D50),
        **{tag: _xyz(values) for tag, values in _PRIMARIES.items()},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    start, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI", start + len(body), b"none", 0x02400000)
    head += b"mntrRGB XYZ " + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp"
    head = head.ljust(68, b"\0") + _xyz(_D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(values: tuple[float, float, float]) -> bytes:
    numbers = (round(value * 65536) for value in values)
    return b"XYZ " + bytes(4) + struct.pack(">3i", *numbers)
