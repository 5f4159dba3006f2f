"""Perfect images score perfectly; every planted fault is seen by the right score."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import uniform_filter

from anchoredit_jax.data.fitting import decode_to_bucket
from anchoredit_jax.data.pixel_error import MAX_PSNR
from anchoredit_jax.data.sprites import (
    COLOURS,
    Accessory,
    Scene,
    ambiguous_sessions,
    render,
    render_truth,
    score_sessions,
)
from anchoredit_jax.data.sprites.atlas import pool_subjects, sprite_atlas
from anchoredit_jax.data.sprites.view import SpriteView, square_view
from anchoredit_jax.errors import UserError


def turns_of(sessions, kind):
    """(session, turn) of every edit of a kind."""
    found = [
        (i, j)
        for i, session in enumerate(sessions)
        for j, edit in enumerate(session.edits)
        if edit.kind == kind
    ]
    assert found, f"no {kind} among the sessions of this test"
    return found


def draw(scene: Scene, **changes) -> np.ndarray:
    return render([dataclasses.replace(scene, **changes)], 32)[0]


VIEWS = [
    square_view(32),
    square_view(48),
    square_view((28, 36)),
    square_view((40, 24)),
    SpriteView((48, 85), (24, 40)),  # blocks of whole pixels
    SpriteView((75, 56), (36, 28)),
    SpriteView((48, 64), (28, 36)),  # resampled
    SpriteView((100, 75), (32, 32)),
]


def named(view):
    return f"{view.name} at {view.size[0]}x{view.size[1]}"


@pytest.mark.parametrize("view", VIEWS, ids=named)
def test_ground_truth_is_perfect(sessions, view):
    scores = score_sessions(sessions, render_truth(sessions, view)[:, 1:], view)
    for name in ("success", "state", "background", "slots", "cover"):
        assert (getattr(scores, name) == 1).all(), name
    covered = np.array([[s.covered for s in x.scenes[1:]] for x in sessions])
    assert covered.any() and not covered.all()
    assert (scores.retrieved[~covered] == 1).all()
    assert (scores.subject_psnr[~covered] == MAX_PSNR).all()
    assert (scores.covered_psnr[covered] == MAX_PSNR).all()
    for name in ("retrieved", "subject_psnr"):
        assert np.isnan(getattr(scores, name)[covered]).all(), name
    assert np.isnan(scores.covered_psnr[~covered]).all()
    assert (scores.untouched_psnr == MAX_PSNR).all()
    assert np.isnan(scores.sharpness).all()  # no ambiguous instruction among them


@pytest.mark.parametrize("view", VIEWS, ids=named)
def test_ignoring_an_instruction_fails_every_kind_but_keep(sessions, view):
    unchanged = render_truth(sessions, view)[:, :-1]
    scores = score_sessions(sessions, unchanged, view)
    keep = scores.kinds == "keep"
    assert (scores.success[keep] == 1).all()
    assert (scores.success[~keep] == 0).all()
    assert (scores.state[~keep] == 0).all()
    exact = view.tolerance == 0  # else resampling changes pixels beside an edge
    assert (scores.untouched_psnr >= (MAX_PSNR if exact else 38)).all()


def test_wrong_slot(sessions, perfect):
    images = perfect.copy()
    places = []
    for i, j in turns_of(sessions, "add"):
        scene, old = sessions[i].scenes[j + 1], sessions[i].scenes[j]
        new = next(s for s in range(4) if scene.accessories[s] != old.accessories[s])
        free = [s for s in range(4) if scene.accessories[s] is None]
        if not free:
            continue
        moved = list(scene.accessories)
        moved[free[0]], moved[new] = moved[new], None
        images[i, j] = draw(scene, accessories=tuple(moved))
        places.append((i, j, new, free[0]))
    assert places
    scores = score_sessions(sessions, images)
    for i, j, new, wrong in places:
        assert scores.success[i, j] == 0 and scores.state[i, j] == 0
        assert set(np.flatnonzero(scores.slots[i, j] == 0)) == {new, wrong}
        assert scores.background[i, j] == scores.cover[i, j] == 1
        assert scores.untouched_psnr[i, j] < 30
        assert (
            scores.subject_psnr[i, j] in (MAX_PSNR,)
            or sessions[i].scenes[j + 1].covered
        )


def test_wrong_colour(sessions, perfect):
    images = perfect.copy()
    places = turns_of(sessions, "recolour")
    for i, j in places:
        scene, old = sessions[i].scenes[j + 1], sessions[i].scenes[j]
        slot = next(s for s in range(4) if scene.accessories[s] != old.accessories[s])
        right, before = scene.accessories[slot], old.accessories[slot]
        colour = next(
            c
            for c in COLOURS
            if c not in (right.colour, before.colour, scene.background)
        )
        accessories = list(scene.accessories)
        accessories[slot] = Accessory(shape=right.shape, colour=colour)
        images[i, j] = draw(scene, accessories=tuple(accessories))
    scores = score_sessions(sessions, images)
    for i, j in places:
        assert scores.success[i, j] == 0
        assert scores.slots[i, j].sum() == 3
        assert scores.untouched_psnr[i, j] > 50


def test_wrong_background(sessions, perfect):
    images = perfect.copy()
    places = turns_of(sessions, "background")
    for i, j in places:
        scene, old = sessions[i].scenes[j + 1], sessions[i].scenes[j]
        used = {a.colour for a in scene.accessories if a} | {
            scene.background,
            old.background,
        }
        colour = next(c for c in COLOURS if c not in used)
        images[i, j] = draw(scene, background=colour)
    scores = score_sessions(sessions, images)
    for i, j in places:
        assert scores.success[i, j] == scores.background[i, j] == 0
        assert scores.state[i, j] == 0


@pytest.mark.parametrize("view", VIEWS, ids=named)
def test_other_subject(sessions, view):
    other = pool_subjects()[3]
    images = np.stack(
        [
            view.draw(
                [dataclasses.replace(s, subject=other) for s in session.scenes[1:]]
            )
            for session in sessions
        ]
    )
    scores = score_sessions(sessions, images, view)
    covered = np.array([[s.covered for s in x.scenes[1:]] for x in sessions])
    assert (scores.retrieved[~covered] == 0).all()
    assert (scores.subject_psnr[~covered] < 20).all()
    assert (scores.state == 1).all()  # the state is what instructions change
    object_edits = np.isin(scores.kinds, ("add", "remove", "recolour", "move"))
    assert (scores.success[object_edits] == 1).all()
    assert (scores.success[scores.kinds == "uncover"] == 0).all()


def test_another_subject_returns_after_the_cover(stories, perfect_stories):
    other = pool_subjects()[3]
    images = perfect_stories.copy()
    for i, session in enumerate(stories):
        images[i, -1] = draw(session.scenes[-1], subject=other)
    scores = score_sessions(stories, images)
    assert (scores.success[:, -1] == 0).all() and (scores.success[:, :-1] == 1).all()
    assert (scores.retrieved[:, -1] == 0).all()


def test_face_bleeding_through_the_cover(stories, perfect_stories):
    images = perfect_stories.copy()
    bare = np.stack(
        [
            render([dataclasses.replace(s, covered=False) for s in x.scenes[1:-1]], 32)
            for x in stories
        ]
    )
    images[:, 1:-1] = (0.7 * images[:, 1:-1] + 0.3 * bare[:, 1:]).astype(np.uint8)
    scores = score_sessions(stories, images)
    assert (scores.covered_psnr[:, 0] == MAX_PSNR).all()
    assert (scores.covered_psnr[:, 1:-1] < 24).all()
    assert (scores.cover == 1).all()  # still more cover than face
    images[:, 1:-1] = bare[:, 1:]
    assert (score_sessions(stories, images).cover[:, 1:-1] == 0).all()


def test_a_missing_subject_is_no_right_state(sessions, perfect):
    atlas = sprite_atlas(square_view(32))
    images = perfect.copy()
    bare = []
    for i, session in enumerate(sessions):
        for j, scene in enumerate(session.scenes[1:]):
            ground = atlas.backgrounds.index(scene.background)
            pixels = np.round(atlas.bare_pixels[ground] * 255)
            images[i, j][atlas.crate_region] = pixels.astype(np.uint8)
            bare.append((i, j))
    scores = score_sessions(sessions, images)
    assert (scores.cover == 0).all() and (scores.slots == 1).all()


def test_noise_outside_the_edit_lowers_only_the_untouched_region(sessions, perfect):
    truth = render_truth(sessions, 32)
    touched = (truth[:, 1:] != truth[:, :-1]).any(-1, keepdims=True)
    noise = np.random.default_rng(0).integers(-25, 26, perfect.shape)
    noisy = np.where(touched, perfect, np.clip(perfect + noise, 0, 255))
    scores = score_sessions(sessions, noisy.astype(np.uint8))
    assert (scores.untouched_psnr < 30).all()
    edits = scores.kinds != "keep"
    assert (scores.edit_psnr[edits] == MAX_PSNR).all()
    assert (scores.state == 1).all()


def test_keep_is_judged_on_the_whole_image(sessions, perfect):
    images = perfect.copy()
    places = turns_of(sessions, "keep")
    for i, j in places:
        images[i, j] = draw(sessions[i].scenes[j + 1], accessories=(None,) * 4)
        images[i, j, :16] = 255 - images[i, j, :16]
    scores = score_sessions(sessions, images)
    assert all(scores.success[i, j] == 0 for i, j in places)


# Instructions with several right answers.


@pytest.fixture(scope="module")
def open_sessions():
    return ambiguous_sessions(16)


def test_every_valid_answer_is_right(open_sessions):
    for pick in (0, -1):
        answers = [session.edits[0].valid[pick] for session in open_sessions]
        scores = score_sessions(open_sessions, render(answers, 32)[:, None])
        assert (scores.success == 1).all()
        assert scores.sharpness == pytest.approx(np.ones((16, 1)))
        assert (scores.untouched_psnr == MAX_PSNR).all()
        expected = [pick % len(s.edits[0].valid) for s in open_sessions]
        assert scores.answer[:, 0].tolist() == expected


def test_the_mean_of_all_answers_is_blurred(open_sessions):
    means = [render(s.edits[0].valid, 32).mean(0) for s in open_sessions]
    scores = score_sessions(open_sessions, np.stack(means)[:, None].astype(np.uint8))
    somewhere = scores.kinds == "add_somewhere"
    assert (scores.success == 0).mean() > 0.7
    assert (scores.sharpness[somewhere] < 0.8).all()


def test_smoothing_lowers_the_sharpness(open_sessions):
    truth = render([s.edits[0].after for s in open_sessions], 32)
    smooth = uniform_filter(truth.astype(float), (0, 3, 3, 0), mode="nearest")
    scores = score_sessions(open_sessions, smooth[:, None].astype(np.uint8))
    assert (scores.sharpness < 0.8).all()


def test_noise_does_not_hide_blur(open_sessions):
    truth = render([s.edits[0].after for s in open_sessions], 32).astype(float)
    noise = np.random.default_rng(0).normal(0, 12, truth.shape)
    smooth = uniform_filter(truth, (0, 3, 3, 0), mode="nearest")
    noisy, both = (
        score_sessions(
            open_sessions, np.clip(x + noise, 0, 255).astype(np.uint8)[:, None]
        )
        for x in (truth, smooth)
    )
    assert (noisy.sharpness > 0.8).all() and (both.sharpness < 0.8).all()


def test_an_object_in_every_place_is_not_an_answer(open_sessions):
    chosen = [s for s in open_sessions if s.edits[0].kind == "add_somewhere"]
    images = []
    for session in chosen:
        edit = session.edits[0]
        stamped = render([edit.before], 32)[0]
        for answer in render(edit.valid, 32):
            changed = (answer != render([edit.before], 32)[0]).any(-1)
            stamped[changed] = answer[changed]
        images.append(stamped)
    scores = score_sessions(chosen, np.stack(images)[:, None])
    assert (scores.success == 0).all()


def test_images_that_do_not_fit(sessions, perfect):
    for images in (
        perfect[:, :-1],
        perfect[:-1],
        perfect.astype(np.float32),
        perfect[..., :2],
    ):
        with pytest.raises(UserError, match="images must be"):
            score_sessions(sessions, images)
    with pytest.raises(UserError, match="no session"):
        score_sessions([], perfect)


@pytest.mark.parametrize("view", VIEWS, ids=named)
def test_regions_do_not_overlap(view):
    atlas = sprite_atlas(view)
    parts = [*atlas.slot_regions, atlas.crate_region, atlas.background_region]
    assert (np.sum(parts, 0) == 1).all()
    assert all(part.any() for part in parts)


def test_a_view_is_what_training_shows_of_a_picture(sessions):
    """The picture is cut and resized as files are; its mask holds no rim."""
    view = SpriteView((48, 64), (28, 36))
    scenes = sessions[0].scenes
    drawn = view.draw(scenes)
    for scene, image in zip(scenes, drawn, strict=True):
        file = io.BytesIO()
        Image.fromarray(render([scene], (48, 64))[0]).save(file, "png")
        assert (decode_to_bucket(file.getvalue(), (28, 36)) == image).all()
    mask = view.mask(scenes)
    drawn_small = square_view((28, 36)).mask(scenes)
    assert mask.shape == drawn_small.shape
    assert mask[0].mean() == pytest.approx(drawn_small[0].mean(), rel=0.15)
    assert view.draw([]).shape == (0, 28, 36, 3) and view.mask([]).shape == (0, 28, 36)


def test_images_of_another_view_are_refused(sessions, perfect):
    with pytest.raises(UserError, match="of 28 x 36 pixels"):
        score_sessions(sessions, perfect, SpriteView((48, 64), (28, 36)))
