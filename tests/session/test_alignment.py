"""An edit that changes nothing gives the source back where it was."""

import dataclasses
import types

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.images import crop_box, paste_back, resize
from anchoredit_jax.models.codec import PatchCodec
from tests.session.editors import MODEL, make_editor

WIDTH, HEIGHT, CHECK, MODEL_SIDE = 604, 644, 46, 128


def checkerboard() -> np.ndarray:
    """uint8 [644, 604, 3], checks of 46 x 46 pixels."""
    rows, columns = np.indices((HEIGHT, WIDTH)) // CHECK
    board = np.where((rows + columns) % 2, 220, 30).astype(np.uint8)
    return board[..., None].repeat(3, axis=2)


def edges(line: np.ndarray) -> np.ndarray:
    """Where a row of pixels [W] crosses mid grey, in pixels, between its samples; not
    within a model pixel of the border, where a cut check is too narrow to be seen."""
    values = line.astype(float) - 125
    before = np.flatnonzero((values[:-1] > 0) != (values[1:] > 0))
    share = values[before] / (values[before] - values[before + 1])
    found = before + share + 0.5  # a pixel's value stands at its middle
    margin = len(line) / MODEL_SIDE
    return found[(found > margin) & (found < len(line) - margin)]


def shifts(image: np.ndarray, board: np.ndarray) -> np.ndarray:
    """Distances of the edges of `image` from those of `board`, both ways, pixels."""
    found = []
    for one, other in ((image, board), (image.swapaxes(0, 1), board.swapaxes(0, 1))):
        middle = CHECK * 3 + CHECK // 2  # of a row of checks
        ours, theirs = edges(one[middle, :, 0]), edges(other[middle, :, 0])
        assert len(ours) == len(theirs) >= 12
        found.append(ours - theirs)
    return np.concatenate(found)


@pytest.fixture
def keeping(params):
    """An editor of 128 x 128 pixels whose network keeps the frame as it is."""
    run = types.SimpleNamespace(
        model=MODEL, data=types.SimpleNamespace(size=MODEL_SIDE)
    )
    editor = make_editor(params, run=run, codec=PatchCodec(2))
    source = []

    def start(params, latent, text):
        source.append(latent)
        return editor_programs.start(params, latent, text)

    def draw(params, memory, text, x, noise, first, last):
        assert source[-1].shape == x.shape
        return source[-1]

    editor_programs = editor.programs
    keeping = dataclasses.replace(editor)
    # In the cached property's place.
    keeping.__dict__["programs"] = editor_programs._replace(start=start, draw=draw)
    return keeping


def test_an_edit_that_keeps_the_frame_is_aligned_to_half_a_pixel(keeping):
    board = checkerboard()
    session = keeping.start(board)
    image = np.asarray(session.edit(""))
    left, top, right, bottom = session.crop.box
    assert session.crop.box == crop_box((HEIGHT, WIDTH), keeping.size)
    assert (left, top, right, bottom) == (0, 20, 604, 624)
    assert image.shape == (604, 604, 3)
    assert session.crop.scale == (MODEL_SIDE / 604, MODEL_SIDE / 604)
    apart = shifts(image, board[top:bottom, left:right])
    assert np.abs(apart).max() < 0.5 and np.abs(apart.mean()) < 0.1
    pasted = paste_back(session.history[1].pixels, session.crop, board)
    assert pasted.shape == board.shape
    assert np.abs(shifts(pasted, board)).max() < 0.5
    assert np.array_equal(pasted[:top], board[:top])


def test_the_measure_sees_a_shift_of_a_pixel():
    board = checkerboard()
    small = resize(board, (60, 60))
    back = np.asarray(
        Image.fromarray(small).transform(
            (WIDTH, HEIGHT),
            Image.Transform.AFFINE,
            (60 / WIDTH, 0, 60 / WIDTH, 0, 60 / HEIGHT, 0),  # one source pixel left
            Image.Resampling.BICUBIC,
        )
    )
    assert np.abs(np.median(shifts(back, board)[:12]) + 1) < 0.3
