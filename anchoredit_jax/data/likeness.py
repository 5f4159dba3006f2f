"""How alike two images are: but for compression, by share, and near duplicates of many.

Images are compared by the means of blocks, which recompressing and resizing keep, and
found again among many by a hash of 64 bits: in each of 8 rows of 9 cells, whether a
cell is brighter than the next.
"""

import numpy as np
from PIL import Image

# Found on photographs: JPEG of quality 10 moved a block's mean by up to 15 of 255, of
# quality 30 by 7, WebP of quality 20 by 9; an edit moves some by more.
BLOCK = 16  # pixels
APART = 16.0
CHANGED = 10.0
_ROUNDING = 1.02  # of aspects that a resized copy may have
_BITS, _TINT = 3, 8  # by which near duplicates may differ
_BANDS = (0, 16, 32, 48)  # one of four is equal where three bits differ
_MOST = 4096  # earlier images of an equal band that one is compared with


def block_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """float32 [h, w]: by how much the means of blocks differ, in the worst channel.

    Args:
      first, second: uint8 [H, W, 3]; sizes may differ.

    Returns:
      Values in [0, 255]; None where the aspects are not the same.
    """
    images = [Image.fromarray(first), Image.fromarray(second)]
    aspects = sorted(image.width / image.height for image in images)
    if aspects[1] > _ROUNDING * aspects[0]:
        return None
    small = min((image.size for image in images), key=lambda size: size[0])
    size = (max(1, small[0] // BLOCK), max(1, small[1] // BLOCK))
    means = [
        np.asarray(image.resize(size, Image.Resampling.BOX), np.float32)
        for image in images
    ]
    return np.abs(means[0] - means[1]).max(-1)


def is_same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two images are one, but for compression and size."""
    difference = block_difference(first, second)
    return difference is not None and float(difference.max()) <= APART


def changed_share(first: np.ndarray, second: np.ndarray) -> float:
    """The share of blocks that differ; all of them where the aspects do."""
    difference = block_difference(first, second)
    return 1.0 if difference is None else float((difference > CHANGED).mean())


def look_of(image: np.ndarray) -> tuple[int, tuple[int, int, int]]:
    """(hash of 64 bits, mean colour) of an image, uint8 [H, W, 3]."""
    shrunk = Image.fromarray(image).resize((9, 8), Image.Resampling.BOX)
    grey = np.asarray(shrunk.convert("L"), np.int16)
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    red, green, blue = np.asarray(shrunk).mean((0, 1)).round().astype(int).tolist()
    return int.from_bytes(bits.tobytes(), "big"), (red, green, blue)


def near_duplicates(looks: np.ndarray, tints: np.ndarray) -> np.ndarray:
    """For each of many the number of an earlier one that is nearly the same, else -1.

    Args:
      looks: uint64 [n, k], hashes of k images each; all of them must be near.
      tints: uint8 [n, k, 3], their mean colours.
    """
    earlier = np.full(len(looks), -1, np.int64)
    colours = tints.astype(np.int16)
    for shift in _BANDS:
        band = (looks[:, 0] >> np.uint64(shift)) & np.uint64(0xFFFF)
        order = np.argsort(band, kind="stable")
        borders = np.flatnonzero(np.diff(band[order])) + 1
        for run in np.split(order, borders):
            for place in range(1, len(run)):
                one, others = run[place], run[max(0, place - _MOST) : place]
                bits = np.bitwise_count(looks[others] ^ looks[one])
                tint = np.abs(colours[others] - colours[one]).max((1, 2))
                found = others[(bits <= _BITS).all(1) & (tint <= _TINT)]
                if len(found) and not 0 <= earlier[one] <= found[0]:
                    earlier[one] = found[0]
    return earlier
