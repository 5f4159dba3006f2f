"""Scenes to images: layers that are the same for many frames are drawn once.

Background, accessories and crate depend on names only and are cached per image size;
each distinct subject of a call is drawn once, however many frames show it. What is left
per frame is blending. All lengths are in units of 1/32 of the shorter side: the subject
stands in the middle and every slot in its own corner, whatever the aspect.
"""

import functools
from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.sprites.scene import COLOURS, SHAPES, SLOTS, Scene
from anchoredit_jax.data.sprites.subject import EXTENT, draw_subjects
from anchoredit_jax.errors import UserError

UNITS = 32
MIN_SIZE = 16  # below, shapes and faces cannot be told apart

Size = tuple[int, int]  # (height, width), pixels

_GRADIENT = (1.03, 0.84)  # brightness of a background at its top and bottom
_SLOT_CENTRE = 4.0  # from the two nearest edges
_SLOT_BOX = 8.0  # of the corner that a slot's shapes may touch: 2 x 2 of 64 tokens
_RADIUS = 3.9
# An octagon, wider than any subject and off every slot; its edges fall on pixels.
_CRATE_HALF = 10.0
_CRATE_CUT = 14.2
_CRATE_FRAME = 1.7
_PLANK = 4.0
_WOOD = np.array([[168, 118, 66], [146, 100, 54]], np.float32)
_FRAME = np.array([104, 68, 36], np.float32)
_SEAM = np.array([70, 44, 24], np.float32)

_COLOUR_INDEX = {name: i for i, name in enumerate(COLOURS)}
_SHAPE_INDEX = {name: i for i, name in enumerate(SHAPES)}
_COLOUR_TABLE = np.array(list(COLOURS.values()), np.float32)


def render(scenes: Sequence[Scene], size: int | Size = 32) -> np.ndarray:
    """Scenes -> images uint8 [n, H, W, 3].

    Args:
      size: (height, width) in pixels, or the side of squares.

    Raises:
      UserError: a side is below 16.
    """
    size = both_sides(size)
    names = [_COLOUR_INDEX[scene.background] for scene in scenes]
    images = _backgrounds(size)[np.array(names, np.int64)]  # channels first: faster
    _draw_accessories(images, scenes, size)

    rows, columns = _subject_box(size)
    centre = images[:, :, rows, columns]  # a view
    bare = [i for i, scene in enumerate(scenes) if not scene.covered]
    if bare:
        colours, coverage, which = _distinct_subjects([scenes[i] for i in bare], size)
        patch = centre[bare]
        centre[bare] = patch + coverage[which][:, None] * (colours[which] - patch)
    covered = [i for i, scene in enumerate(scenes) if scene.covered]
    if covered:
        inside, pixels = _crate(size)
        centre[covered] = np.where(inside, pixels, centre[covered])
    images += 0.5
    return np.ascontiguousarray(images.astype(np.uint8).transpose(0, 2, 3, 1))


def subject_mask(scenes: Sequence[Scene], size: int | Size = 32) -> np.ndarray:
    """The subjects' own pixels, covered or not: bool [n, H, W].

    Pixels at the rim, where background shines through, are not among them.
    """
    size = both_sides(size)
    mask = np.zeros((len(scenes), *size), bool)
    if scenes:
        rows, columns = _subject_box(size)
        _, coverage, which = _distinct_subjects(scenes, size)
        mask[:, rows, columns] = (coverage == 1)[which]
    return mask


def both_sides(size: int | Size) -> Size:
    """(height, width) of a size that may be the side of a square.

    Raises:
      UserError: a side is below 16.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < MIN_SIZE:
        told = height if height == width else f"{height} x {width}"
        raise UserError(f"sprites need at least {MIN_SIZE} px a side, got {told}")
    return height, width


def _distinct_subjects(
    scenes: Sequence[Scene], size: Size
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours [u, 3, h, w], coverage [u, h, w], and which of them each scene shows."""
    order: dict[tuple[float, ...], int] = {}
    which = [order.setdefault(scene.subject, len(order)) for scene in scenes]
    x, y = _centre_points(size)
    colours, coverage = draw_subjects(
        np.array(list(order)), x.ravel(), y.ravel(), min(size) / UNITS
    )
    u, side = len(order), x.shape
    return colours.reshape(u, 3, *side), coverage.reshape(u, *side), np.array(which)


def _draw_accessories(images: np.ndarray, scenes: Sequence[Scene], size: Size) -> None:
    """Blend every slot's shapes into float images [n, 3, H, W], in place."""
    for slot in range(len(SLOTS)):
        shown = [i for i, scene in enumerate(scenes) if scene.accessories[slot]]
        if not shown:
            continue
        items = [scenes[i].accessories[slot] for i in shown]
        rows, columns, coverage = _accessories(size)[slot]
        alpha = coverage[[_SHAPE_INDEX[item.shape] for item in items]][:, None]
        colour = _COLOUR_TABLE[[_COLOUR_INDEX[item.colour] for item in items]]
        corner = images[:, :, rows, columns]  # a view
        patch = corner[shown]
        corner[shown] = patch + alpha * (colour[..., None, None] - patch)


def _points(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres, units from the image's centre: x, y float32 [H, W]."""
    y, x = (
        ((np.arange(side) + 0.5) / side - 0.5) * extent
        for side, extent in zip(size, _extents(size), strict=True)
    )
    x, y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return x, y


def _extents(size: Size) -> tuple[float, float]:
    """Height and width in units."""
    return UNITS * (size[0] / min(size)), UNITS * (size[1] / min(size))


def _subject_box(size: Size) -> tuple[slice, slice]:
    """Rows and columns that a subject may touch."""
    reach = (EXTENT + 0.5) / UNITS * min(size)
    low = [int(0.5 * side - reach) for side in size]
    return slice(low[0], size[0] - low[0]), slice(low[1], size[1] - low[1])


@functools.lru_cache(maxsize=16)
def _centre_points(size: Size) -> tuple[np.ndarray, np.ndarray]:
    x, y = _points(size)
    box = _subject_box(size)
    return x[box], y[box]


@functools.lru_cache(maxsize=16)
def _backgrounds(size: Size) -> np.ndarray:
    """Every background, float32 [colours, 3, H, W]; brightness varies by row only."""
    light = np.linspace(*_GRADIENT, size[0], dtype=np.float32)[:, None]
    rows = np.minimum(_COLOUR_TABLE[..., None, None] * light, 255)
    return np.repeat(rows, size[1], axis=-1)


@functools.lru_cache(maxsize=16)
def _accessories(size: Size) -> tuple[tuple[slice, slice, np.ndarray], ...]:
    """Per slot: rows, columns and the coverage of each shape, float32 [k, h, w]."""
    x, y = _points(size)
    edge = int(np.ceil(_SLOT_BOX / UNITS * min(size)))
    height, width = size
    down, across = (extent / 2 - _SLOT_CENTRE for extent in _extents(size))
    out = []
    for name in SLOTS:
        rows = slice(0, edge) if "top" in name else slice(height - edge, height)
        columns = slice(0, edge) if "left" in name else slice(width - edge, width)
        dx = x[rows, columns] + (across if "left" in name else -across)
        dy = y[rows, columns] + (down if "top" in name else -down)
        distance = np.stack([_shape_distance(shape, dx, dy) for shape in SHAPES])
        coverage = np.clip(0.5 - distance * (min(size) / UNITS), 0, 1)
        out.append((rows, columns, coverage.astype(np.float32)))
    return tuple(out)


def _shape_distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance (near the edge) from a shape around the origin, y downwards."""
    across, r = np.hypot(x, y), _RADIUS
    if shape == "circle":
        return across - r
    if shape == "ring":
        return np.abs(across - 0.72 * r) - 0.28 * r
    x = np.abs(x)
    if shape == "triangle":
        side = np.hypot(2.0, 1.0)  # edges rise two units for one across
        return np.maximum((2 * x - (y + r)) / side, y - 0.86 * r)
    return np.maximum(x, np.abs(y)) - 0.86 * r  # the square


@functools.lru_cache(maxsize=16)
def _crate(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """The cover in the middle box: which pixels bool [h, w], colours [3, h, w]."""
    x, y = _centre_points(size)
    scale = min(size) / UNITS
    rim = np.maximum(
        np.maximum(np.abs(x), np.abs(y)) - _CRATE_HALF,
        (np.abs(x) + np.abs(y) - _CRATE_CUT) / np.sqrt(2),
    )
    plank = np.floor((y + _CRATE_HALF) / _PLANK)
    pixels = _WOOD[plank.astype(int) % 2]
    seam = np.abs((y + _CRATE_HALF) / _PLANK - np.round((y + _CRATE_HALF) / _PLANK))
    pixels = _over(pixels, seam * _PLANK - 0.3, _SEAM, scale)
    pixels = _over(pixels, np.abs(x + y) / np.sqrt(2) - 1.5, _FRAME, scale)
    pixels = _over(pixels, -_CRATE_FRAME - rim, _FRAME, scale)
    pixels = _over(pixels, -0.6 - rim, _SEAM, scale)
    return rim <= 0, pixels.astype(np.float32).transpose(2, 0, 1)


def _over(
    pixels: np.ndarray, distance: np.ndarray, colour: np.ndarray, scale: float
) -> np.ndarray:
    alpha = np.clip(0.5 - distance * scale, 0, 1)[..., None]
    return pixels + alpha * (colour - pixels)
