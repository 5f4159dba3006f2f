"""ICC profiles that are written by hand, so that tests know what they mean."""

import struct

import numpy as np

P3 = (
    (0.51512, 0.2412, -0.00105),
    (0.29198, 0.69225, 0.04189),
    (0.1571, 0.06657, 0.78407),
)
ADOBE = (
    (0.60974, 0.31111, 0.01947),
    (0.20528, 0.62567, 0.06087),
    (0.14919, 0.06322, 0.74457),
)
SRGB = (
    (0.43607, 0.22249, 0.01392),
    (0.38515, 0.71687, 0.09708),
    (0.14307, 0.06061, 0.7141),
)
ADOBE_GAMMA = 563 / 256


def srgb_to_linear(values):
    values = np.asarray(values, float)
    return np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )


def curve(gamma=None):
    """A gamma, or by default the curve of sRGB."""
    if gamma is not None:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    table = np.round(65535 * srgb_to_linear(np.linspace(0, 1, 1024))).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", 1024) + table.tobytes()


def profile(space, pcs, kind, tags):
    """The bytes of an ICC profile of version 2."""
    tags = {
        b"desc": _text(b"desc"),
        b"cprt": _text(b"text"),
        b"wtpt": xyz((0.9642, 1, 0.8249)),
        **tags,
    }
    start, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"none", 0x02400000, kind, space, pcs
    )
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += xyz((0.9642, 1, 0.8249))[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries, gamma=None):
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(gamma))
    return profile(b"RGB ", b"XYZ ", b"mntr", {n: xyz(c) for n, c in columns} | curves)


def grey_profile(gamma):
    return profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": curve(gamma)})


def cmyk_profile(ink=50):
    """Coloured inks are black; black ink alone is a grey of this lightness."""
    corners = np.zeros((16, 3), np.uint8)
    corners[:2, 0] = 255, round(ink * 255 / 100)
    corners[:, 1:] = 128
    ramp = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0))
    lut += np.eye(3).ravel().astype(">i4").__mul__(65536).astype(">i4").tobytes()
    lut += ramp * 4 + corners.tobytes() + ramp * 3
    return profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut, b"A2B1": lut})


def encode_in(primaries, gamma, colours):
    """sRGB colours [n, 3] in 0..255 as another space stores them."""
    linear = srgb_to_linear(np.asarray(colours) / 255) @ np.array(SRGB)
    linear = np.clip(linear @ np.linalg.inv(np.array(primaries)), 0, 1)
    if gamma is not None:
        return np.round(255 * linear ** (1 / gamma)).astype(np.uint8)
    low, high = linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055
    return np.round(255 * np.where(linear <= 0.0031308, low, high)).astype(np.uint8)


def xyz(values):
    return (
        b"XYZ "
        + bytes(4)
        + b"".join(struct.pack(">i", round(v * 65536)) for v in values)
    )


def _text(kind):
    if kind == b"text":
        return b"text" + bytes(4) + b"none\0"
    return b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
