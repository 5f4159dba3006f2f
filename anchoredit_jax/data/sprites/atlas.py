"""What a sprite scene can look like, rendered once: regions and candidates.

Everything is measured from renderings, so it stays right when the drawing changes.
"""

import dataclasses
import functools

import numpy as np

from anchoredit_jax.data.sprites.scene import (
    COLOURS,
    SHAPES,
    SLOTS,
    Accessory,
    Scene,
)
from anchoredit_jax.data.sprites.sessions import sample_session
from anchoredit_jax.data.sprites.view import SpriteView

POOL = 47  # other subjects beside the true one in the retrieval test
_POOL_SEED = 1_480_071_003  # subjects that no training or evaluation session shows


@dataclasses.dataclass(frozen=True)
class SpriteAtlas:
    """Renderings that images are compared with. Values in [0, 1], float32.

    Attributes:
      backgrounds: colour names in the order of the first axis (G) below.
      background_region: bool [H, W], pixels that only the background reaches.
      background_pixels: [G, P, 3], the background there.
      crate_region: bool [H, W], pixels under the cover; every subject lies inside.
      crate_pixels: [G, P, 3], the cover there, at whose rim background may show.
      bare_pixels: [G, P, 3], the background there, without subject or cover.
      pool_pixels: [G, 47, P, 3], other subjects there.
      slot_regions: bool [4, H, W].
      slot_contents: per slot and background, `Accessory` or None for each candidate.
      slot_pixels: per slot and background, float [candidates, P, 3].
    """

    backgrounds: tuple[str, ...]
    background_region: np.ndarray
    background_pixels: np.ndarray
    crate_region: np.ndarray
    crate_pixels: np.ndarray
    bare_pixels: np.ndarray
    pool_pixels: np.ndarray
    slot_regions: np.ndarray
    slot_contents: tuple[tuple[tuple[Accessory | None, ...], ...], ...]
    slot_pixels: tuple[tuple[np.ndarray, ...], ...]


@functools.lru_cache(maxsize=8)
def sprite_atlas(view: SpriteView) -> SpriteAtlas:
    """The atlas of scenes in a view (pure in the view, kept)."""
    names = tuple(COLOURS)
    subjects = pool_subjects()
    empty = Scene(
        subject=subjects[0],
        background=names[0],
        accessories=(None,) * len(SLOTS),
        covered=False,
    )
    plain = [
        dataclasses.replace(empty, background=name, subject=subject)
        for name in names
        for subject in subjects
    ]
    pool = view.draw(plain).reshape(len(names), POOL, *view.size, 3)
    covered = view.draw(
        [dataclasses.replace(empty, background=name, covered=True) for name in names]
    )
    crate_region = view.differ(pool, covered[:, None]).any((0, 1))

    scenes, contents = _slot_scenes(empty, names)
    drawn = view.draw([scene for _, _, scene in scenes])
    slot_of = np.array([slot for slot, _, _ in scenes])
    ground_of = np.array([ground for _, ground, _ in scenes])
    changed = view.differ(drawn, pool[ground_of, 0])
    slot_regions = np.stack([changed[slot_of == s].any(0) for s in range(len(SLOTS))])
    pool, covered, drawn = map(_floats, (pool, covered, drawn))
    slot_pixels = tuple(
        tuple(
            drawn[(slot_of == s) & (ground_of == g)][:, slot_regions[s]]
            for g in range(len(names))
        )
        for s in range(len(SLOTS))
    )
    background_region = ~(slot_regions.any(0) | crate_region)
    return SpriteAtlas(
        backgrounds=names,
        background_region=background_region,
        background_pixels=pool[:, 0][:, background_region],
        crate_region=crate_region,
        crate_pixels=covered[:, crate_region],
        bare_pixels=_bare(pool[:, 0], background_region)[:, crate_region],
        pool_pixels=pool[:, :, crate_region],
        slot_regions=slot_regions,
        slot_contents=contents,
        slot_pixels=slot_pixels,
    )


def pool_subjects() -> list[tuple[float, ...]]:
    """The 47 subjects of the retrieval test, never seen in any session."""
    return [
        sample_session(_POOL_SEED, index, turns=1).scenes[0].subject
        for index in range(POOL)
    ]


def _slot_scenes(empty: Scene, names: tuple[str, ...]):
    """(slot, background index, scene) for all contents of one slot, and the contents.

    An accessory never has the background's colour.
    """
    scenes, contents = [], []
    for slot in range(len(SLOTS)):
        of_slot = []
        for ground, name in enumerate(names):
            choices = [None] + [
                Accessory(shape=shape, colour=colour)
                for shape in SHAPES
                for colour in names
                if colour != name
            ]
            of_slot.append(tuple(choices))
            for choice in choices:
                accessories = list(empty.accessories)
                accessories[slot] = choice
                scene = dataclasses.replace(
                    empty, background=name, accessories=tuple(accessories)
                )
                scenes.append((slot, ground, scene))
        contents.append(tuple(of_slot))
    return scenes, tuple(contents)


def _bare(images: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Images [G, H, W, 3] with each row filled by its own median over the region.

    The backgrounds vary from row to row only; a row without such pixels takes the
    median of all.
    """
    filled = np.empty_like(images)
    for row in range(images.shape[1]):
        columns = region[row] if region[row].any() else None
        source = images[:, region] if columns is None else images[:, row, columns]
        filled[:, row] = np.median(source, axis=1)[:, None]
    return filled


def _floats(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 255.0
