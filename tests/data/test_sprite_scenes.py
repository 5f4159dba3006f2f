"""Rendering: what is drawn where, what hides what, and how different subjects look."""

import dataclasses
import itertools

import numpy as np
import pytest

from anchoredit_jax.data.sprites import (
    ATTRIBUTES,
    COLOURS,
    SHAPES,
    SLOTS,
    Accessory,
    Scene,
    render,
    sample_scene,
    subject_mask,
)
from anchoredit_jax.data.sprites.render import both_sides
from anchoredit_jax.errors import UserError

SIZES = [32, 48, 64, (28, 36), (40, 24), (48, 85)]
MIDDLE = (0.5,) * len(ATTRIBUTES)


def subjects(count: int) -> np.ndarray:
    """Random ones, and the largest there can be in every shape."""
    drawn = np.random.default_rng(0).random((count, len(ATTRIBUTES)))
    corners = []
    for aspect, squareness in itertools.product((0, 0.5, 1), (0, 0.5, 1)):
        big = np.full(len(ATTRIBUTES), 0.5)
        big[:3] = 1.0, aspect, squareness
        corners.append(big)
    return np.concatenate([drawn, corners])


@pytest.mark.parametrize("size", SIZES)
def test_the_cover_hides_every_subject_and_looks_the_same(size):
    bare = [Scene(tuple(s), "green") for s in subjects(200)]
    covered = [dataclasses.replace(scene, covered=True) for scene in bare]
    images = render(covered, size)
    assert images.shape == (len(bare), *both_sides(size), 3)
    assert images.dtype == np.uint8
    assert (images == images[0]).all()
    # The crate's own pixels are the same before any background.
    other = dataclasses.replace(covered[0], background="white")
    crate = (images[0] == render([other], size)[0]).all(-1)
    nothing_else = (render(bare, size) == render(bare[:1], size)).all(-1)
    if min(both_sides(size)) >= 28:  # below, a faint rim of the widest may
        assert crate[~nothing_else.all(0)].all(), "a subject reaches beyond the crate"
    assert crate[subject_mask(bare, size).any(0)].all()


@pytest.mark.parametrize("size", SIZES)
def test_accessories_touch_neither_subject_nor_cover(size):
    plain = Scene(MIDDLE, "white")
    for covered in (False, True):
        empty = dataclasses.replace(plain, covered=covered)
        scenes = [
            empty.with_slot(slot, Accessory(shape, "blue"))
            for slot in range(len(SLOTS))
            for shape in SHAPES
        ]
        changed = (render(scenes, size) != render([empty], size)).any(-1)
        assert changed.any((1, 2)).all()
        hidden = render([dataclasses.replace(plain, covered=True)], size)[0]
        crate = (
            hidden
            == render(
                [dataclasses.replace(plain, covered=True, background="blue")], size
            )[0]
        ).all(-1)
        assert not (changed & crate).any()
        # Slots do not overlap, and each is in its own corner.
        of_slot = changed.reshape(len(SLOTS), len(SHAPES), *both_sides(size)).any(1)
        assert of_slot.sum(0).max() == 1
        quarters = [of_slot[:, y, x].any((1, 2)) for y, x in _quarters(size)]
        assert (np.array(quarters) == np.eye(4, dtype=bool)).all()


def _quarters(size) -> list[tuple[slice, slice]]:
    """Top left, top right, bottom left, bottom right: the order of `SLOTS`."""
    height, width = (side // 2 for side in both_sides(size))
    top, bottom = slice(0, height), slice(height, None)
    left, right = slice(0, width), slice(width, None)
    return [(top, left), (top, right), (bottom, left), (bottom, right)]


@pytest.mark.parametrize("size", SIZES)
def test_background_touches_no_subject_pixel_and_varies_by_row_only(size):
    scene = sample_scene(np.random.default_rng(3))
    scene = dataclasses.replace(scene, accessories=(None,) * 4)
    images = render([dataclasses.replace(scene, background=c) for c in COLOURS], size)
    mask = subject_mask([scene], size)[0]
    assert mask.sum() > 0.1 * min(both_sides(size)) ** 2
    assert (images[:, mask] == images[0, mask]).all()
    edge = images[:, :, 0]
    assert (images[:, :, -1] == edge).all()
    assert (edge[:, 0] != edge[:, -1]).any(-1).all(), "no gradient"


@pytest.mark.parametrize("size", [(32, 52), (52, 32), (32, 33)])
def test_a_wider_image_shows_the_same_things_farther_apart(size):
    """Corners and middle are those of the square of the shorter side, moved apart."""
    rng = np.random.default_rng(5)
    scenes = [sample_scene(rng) for _ in range(8)]
    scenes += [dataclasses.replace(scenes[0], covered=True)]
    # Side by side: brightness runs from top to bottom, so rows have equal colours.
    turned = size[0] > size[1]
    wide, square = render(scenes, size).astype(int), render(scenes, 32)
    low, high = slice(0, 8), slice(-8, None)
    for rows, columns in itertools.product((low, high), repeat=2):
        near = np.abs(wide[:, rows, columns] - square[:, rows, columns])
        assert near.max() <= (1 if not turned else 8)
    if max(size) % 2 == 0:
        middle = [slice(side // 2 - 8, side // 2 + 8) for side in size]
        near = np.abs(wide[:, middle[0], middle[1]] - square[:, 8:24, 8:24])
        assert near.max() <= (1 if not turned else 16)
        masks, squares = subject_mask(scenes, size), subject_mask(scenes, 32)
        assert (masks.sum((1, 2)) == squares.sum((1, 2))).all()


def test_colours_are_well_apart():
    rgb = np.array(list(COLOURS.values()), float)
    distance = np.linalg.norm(rgb[:, None] - rgb, axis=-1)
    assert distance[~np.eye(len(rgb), dtype=bool)].min() > 85


def test_subjects_differ_visibly_and_in_every_attribute():
    scenes = [Scene(tuple(s), "white") for s in subjects(120)[:120]]
    images = render(scenes).astype(float) / 255
    masks = subject_mask(scenes)
    psnr = [
        -10 * np.log10(((images[i] - images[i + 60])[masks[i]] ** 2).mean())
        for i in range(60)
    ]
    assert np.quantile(psnr, 0.9) < 14
    for column, name in enumerate(ATTRIBUTES):
        other = list(MIDDLE)
        other[column] = 0.9
        pair = render([Scene(MIDDLE, "white"), Scene(tuple(other), "white")])
        assert np.abs(pair[0].astype(int) - pair[1]).max() > 30, name


def test_rendering_does_not_depend_on_the_batch():
    rng = np.random.default_rng(1)
    scenes = [sample_scene(rng) for _ in range(12)]
    scenes += [dataclasses.replace(scene, covered=True) for scene in scenes[:3]]
    together = render(scenes)
    alone = np.concatenate([render([scene]) for scene in scenes])
    assert (together == alone).all()
    masks = subject_mask(scenes)
    assert (masks == np.concatenate([subject_mask([s]) for s in scenes])).all()
    assert (masks[12:] == masks[:3]).all(), "a covered subject keeps its mask"
    assert render([], 32).shape == (0, 32, 32, 3)
    assert subject_mask([], 32).shape == (0, 32, 32)


def test_sampled_scenes_obey_the_rules():
    rng = np.random.default_rng(2)
    scenes = [sample_scene(rng) for _ in range(300)]
    counts = set()
    for scene in scenes:
        items = [item for item in scene.accessories if item]
        counts.add(len(items))
        assert len({item.shape for item in items}) == len(items)
        assert scene.background not in {item.colour for item in items}
        assert not scene.covered
        assert all(0 <= value <= 1 for value in scene.subject)
    assert counts == {0, 1, 2, 3, 4}
    assert {scene.background for scene in scenes} == set(COLOURS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Scene(MIDDLE, "gren"), "green"),
        (lambda: Scene(MIDDLE[1:], "green"), "attributes"),
        (lambda: Scene(MIDDLE, "green", (None,)), "slots"),
        (lambda: Accessory("squar", "red"), "square"),
        (lambda: Accessory("square", "rot"), "colour"),
        (lambda: render([Scene(MIDDLE, "green")], 8), "16 px a side, got 8"),
        (lambda: render([Scene(MIDDLE, "green")], (32, 8)), "got 32 x 8"),
        (lambda: subject_mask([Scene(MIDDLE, "green")], 8), "16"),
    ],
)
def test_wrong_scenes_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
