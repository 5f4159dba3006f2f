"""Scores of edited sprite sessions against their exact ground truth.

All of it is numpy on decoded images: nothing here knows a network.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.pixel_error import psnr, region_mse, squared_error
from anchoredit_jax.data.sprites.atlas import SpriteAtlas, sprite_atlas
from anchoredit_jax.data.sprites.instructions import Edit
from anchoredit_jax.data.sprites.sessions import SpriteSession
from anchoredit_jax.data.sprites.view import SpriteView, square_view
from anchoredit_jax.errors import UserError

SUCCESS_PSNR = 20.0  # dB over the edit region, against the nearest right answer


@dataclasses.dataclass(frozen=True)
class SpriteScores:
    """One value a session and turn, arrays [n, N]; NaN where a score does not apply.

    Attributes:
      kinds: str, the kind of each edit.
      success: 1 where the edit region is within `SUCCESS_PSNR` of a right answer. A
        "keep" turn is judged on the whole image. Where several answers are right, the
        places of the other answers must be left alone as well.
      edit_psnr: the PSNR that decides success.
      subject_psnr: over the pixels of the true subject; only while it is uncovered.
      retrieved: 1 where the true subject is nearer than 47 others drawn in the same
        true scene; only while it is uncovered.
      untouched_psnr: over the pixels that the edit must not change.
      covered_psnr: over the cover, only while the truth is covered: a face that bleeds
        through is seen here.
      state: 1 where background, all four slots and the cover are right.
      background, slots, cover: 1 where this part of the state is right (`slots`
        [n, N, 4]); decoded by nearest rendering.
      answer: which of the edit's valid answers is nearest; 0 where there is one.
      sharpness: how much of the gradients of the nearest right answer is there, in the
        edit region (1: as sharp, below: blurred); only where several answers are right.
    """

    kinds: np.ndarray
    success: np.ndarray
    edit_psnr: np.ndarray
    subject_psnr: np.ndarray
    retrieved: np.ndarray
    untouched_psnr: np.ndarray
    covered_psnr: np.ndarray
    state: np.ndarray
    background: np.ndarray
    slots: np.ndarray
    cover: np.ndarray
    answer: np.ndarray
    sharpness: np.ndarray

    def of(self, rows: Sequence[int]) -> "SpriteScores":
        """The scores of some of the sessions."""
        return SpriteScores(
            **{f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self)}
        )


def render_truth(
    sessions: Sequence[SpriteSession], view: SpriteView | int | Size
) -> np.ndarray:
    """Ground-truth images of sessions of equal length: uint8 [n, N + 1, H, W, 3].

    Args:
      view: of the scenes; or the size they are drawn at, (height, width) or a side.
    """
    view = view if isinstance(view, SpriteView) else square_view(view)
    scenes = [scene for session in sessions for scene in session.scenes]
    images = view.draw(scenes)
    return images.reshape(len(sessions), len(sessions[0].scenes), *images.shape[1:])


def score_sessions(
    sessions: Sequence[SpriteSession],
    images: np.ndarray,
    view: SpriteView | None = None,
) -> SpriteScores:
    """Score the images that an editor made of `sessions`.

    Args:
      sessions: n sessions of N edits each.
      images: uint8 [n, N, H, W, 3], the result of every edit.
      view: that the sources had; scenes drawn at the images' size by default.

    Raises:
      UserError: if sessions differ in length, or images do not fit them.
    """
    _check(sessions, images, view)
    n, turns = images.shape[:2]
    view = square_view(images.shape[2:4]) if view is None else view
    frames = render_truth(sessions, view)
    before, after = frames[:, :-1], frames[:, 1:]
    error = squared_error(images, after)
    touched = view.differ(before, after)

    kept = ~touched.any((-2, -1), keepdims=True)
    edit_psnr = psnr(region_mse(error, touched | kept))
    answer = np.zeros((n, turns), np.int32)
    sharpness = np.full((n, turns), np.nan)
    for i, session in enumerate(sessions):
        for j, edit in enumerate(session.edits):
            if len(edit.valid) > 1:
                judged = _judge_ambiguous(edit, before[i, j], images[i, j], view)
                edit_psnr[i, j], answer[i, j], sharpness[i, j] = judged[:3]
                touched[i, j] = judged[3]

    truths = [scene for session in sessions for scene in session.scenes[1:]]
    covered = np.array([scene.covered for scene in truths]).reshape(n, turns)
    mask = view.mask(truths).reshape(n, turns, *view.size)
    atlas = sprite_atlas(view)
    crate_mse = region_mse(error, np.broadcast_to(atlas.crate_region, error.shape))
    parts = _decode(atlas, sessions, images, after, covered)
    return SpriteScores(
        kinds=np.array([[edit.kind for edit in s.edits] for s in sessions]),
        success=(edit_psnr >= SUCCESS_PSNR).astype(np.float64),
        edit_psnr=edit_psnr,
        subject_psnr=np.where(covered, np.nan, psnr(region_mse(error, mask))),
        untouched_psnr=psnr(region_mse(error, ~touched)),
        covered_psnr=np.where(covered, psnr(crate_mse), np.nan),
        answer=answer,
        sharpness=sharpness,
        **parts,
    )


def _check(sessions: Sequence[SpriteSession], images: np.ndarray, view) -> None:
    if not sessions:
        raise UserError("no session to score; give at least one")
    lengths = {len(session.edits) for session in sessions}
    if len(lengths) > 1:
        raise UserError(f"sessions must have equally many edits, got {sorted(lengths)}")
    expected = (len(sessions), lengths.pop())
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 5 or shape[:2] != expected:
        raise UserError(
            f"images must be uint8 [{expected[0]}, {expected[1]}, H, W, 3], got "
            f"{images.dtype} {list(shape)}"
        )
    if shape[4] != 3 or (view is not None and shape[2:4] != view.size):
        size = "" if view is None else f" of {view.size[0]} x {view.size[1]} pixels"
        raise UserError(f"images must be{size} with 3 channels, got {list(shape)}")


def _judge_ambiguous(
    edit: Edit, before: np.ndarray, image: np.ndarray, view: SpriteView
):
    """(PSNR, nearest answer, sharpness, region of all answers) of one image.

    The nearest answer is the one of least error over the pixels that any answer
    changes. The PSNR is the worse one of its own region and of the rest of them.
    """
    answers = view.draw(edit.valid)
    own = view.differ(answers, before)
    union = own.any(0)
    errors = squared_error(image[None], answers)
    nearest = int(np.argmin(region_mse(errors, np.broadcast_to(union, own.shape))))
    quality = psnr(region_mse(errors[nearest], own[nearest]))
    rest = union & ~own[nearest]
    if rest.any():
        quality = min(quality, psnr(region_mse(errors[nearest], rest)))
    sharpness = _sharpness(image, answers[nearest], _grow(own[nearest]))
    return quality, nearest, sharpness, union


def _grow(region: np.ndarray) -> np.ndarray:
    """The region and its neighbours, so that the outline's gradients count."""
    grown = region.copy()
    grown[1:] |= region[:-1]
    grown[:-1] |= region[1:]
    grown[:, 1:] |= region[:, :-1]
    grown[:, :-1] |= region[:, 1:]
    return grown


def _sharpness(image: np.ndarray, answer: np.ndarray, region: np.ndarray) -> float:
    """How much of the answer's gradients inside the region the image has.

    The image's gradient energy along the answer's, over the answer's own: 1 where the
    image has the same edges, below where they are blurred or transparent. Energy that
    is no part of the answer, such as noise, does not count: it would hide blur.
    """
    ours, theirs = _gradients(image, region), _gradients(answer, region)
    return float(ours @ theirs / (theirs @ theirs))


def _gradients(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Differences of neighbours that are both inside the region, as one vector."""
    image = image.astype(np.float32) / 255.0
    down = np.diff(image, axis=0)[region[1:] & region[:-1]]
    right = np.diff(image, axis=1)[region[:, 1:] & region[:, :-1]]
    return np.concatenate([down, right]).ravel()


def _decode(atlas: SpriteAtlas, sessions, images, after, covered) -> dict:
    """The state of every image by nearest rendering, compared with the truth."""
    n, turns = images.shape[:2]
    flat = images.reshape(n * turns, *images.shape[2:])
    values = flat.astype(np.float32) / 255.0
    scenes = [scene for session in sessions for scene in session.scenes[1:]]
    index = {name: i for i, name in enumerate(atlas.backgrounds)}
    true_ground = np.array([index[scene.background] for scene in scenes])

    ground_distance = _distances(
        values[:, atlas.background_region], atlas.background_pixels
    )
    ground = ground_distance.argmin(1)

    crate = values[:, atlas.crate_region]
    truth = after.reshape(flat.shape)[:, atlas.crate_region].astype(np.float32) / 255.0
    to_truth = np.square(crate - truth).sum((-2, -1))
    to_others = np.empty(len(flat), np.float32)
    to_crate, to_bare = np.empty_like(to_others), np.empty_like(to_others)
    slots = np.zeros((len(flat), len(atlas.slot_regions)))
    for g in range(len(atlas.backgrounds)):
        of_truth = true_ground == g
        to_others[of_truth] = _distances(crate[of_truth], atlas.pool_pixels[g]).min(1)
        for distance, pixels in (
            (to_crate, atlas.crate_pixels[g]),
            (to_bare, atlas.bare_pixels[g]),
        ):
            distance[of_truth] = np.square(crate[of_truth] - pixels).sum((-2, -1))
        here = np.flatnonzero(ground == g)
        for s, region in enumerate(atlas.slot_regions):
            pixels = values[here][:, region]
            choice = _distances(pixels, atlas.slot_pixels[s][g]).argmin(1)
            contents = atlas.slot_contents[s][g]
            for k, c in zip(here, choice, strict=True):
                slots[k, s] = contents[c] == scenes[k].accessories[s]

    hidden = covered.reshape(-1)
    # While the truth is covered, `to_truth` is the distance to the cover itself.
    shown = np.minimum(to_others, np.where(hidden, np.inf, to_truth))
    cover = np.where(
        hidden,
        to_crate < np.minimum(shown, to_bare),
        shown < np.minimum(to_crate, to_bare),
    )
    right_ground = ground == true_ground
    state = right_ground & slots.all(1) & cover
    retrieved = np.where(hidden, np.nan, to_truth < to_others)
    shape = (n, turns)
    return {
        "retrieved": retrieved.reshape(shape),
        "state": state.reshape(shape).astype(np.float64),
        "background": right_ground.reshape(shape).astype(np.float64),
        "slots": slots.reshape(*shape, -1),
        "cover": cover.reshape(shape).astype(np.float64),
    }


def _distances(values: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Squared distances [n, k] of values [n, P, 3] to candidates [k, P, 3]."""
    values = values.reshape(len(values), int(np.prod(values.shape[1:])))
    candidates = candidates.reshape(len(candidates), -1)
    squares = np.square(values).sum(1)[:, None] + np.square(candidates).sum(1)
    return np.maximum(squares - 2.0 * values @ candidates.T, 0.0)
