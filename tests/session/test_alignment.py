"""An edit that changes nothing gives the source back where it was."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data.images import crop_box, paste_back, resize
from anchoredit_jax.models.codec import PatchCodec
from tests.session.editors import bucketed_run, make_editor, make_run

WIDTH, HEIGHT, CHECK, MODEL_SIDE = 604, 644, 46, 128


def checkerboard(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 [height, width, 3], checks of 46 x 46 pixels."""
    rows, columns = np.indices((height, width)) // CHECK
    board = np.where((rows + columns) % 2, 220, 30).astype(np.uint8)
    return board[..., None].repeat(3, axis=2)


def edges(line: np.ndarray) -> np.ndarray:
    """Where a row of pixels [W] crosses mid grey, in pixels, between its samples; not
    within a model pixel of the border, where a cut check is too narrow to be seen."""
    values = line.astype(float) - 125
    before = np.flatnonzero((values[:-1] > 0) != (values[1:] > 0))
    share = values[before] / (values[before] - values[before + 1])
    found = before + share + 0.5  # a pixel's value stands at its middle
    margin = CHECK / 8  # more than a model pixel
    return found[(found > margin) & (found < len(line) - margin)]


def shifts(image: np.ndarray, board: np.ndarray, least: int = 12) -> np.ndarray:
    """Distances of the edges of `image` from those of `board`, both ways, pixels.

    Args:
      least: edges that are to be found each way.
    """
    found = []
    for one, other in ((image, board), (image.swapaxes(0, 1), board.swapaxes(0, 1))):
        middle = CHECK * 3 + CHECK // 2  # of a row of checks
        ours, theirs = edges(one[middle, :, 0]), edges(other[middle, :, 0])
        assert len(ours) == len(theirs) >= least
        found.append(ours - theirs)
    return np.concatenate(found)


def keeping(params, run):
    """An editor whose network keeps the frame as it is."""
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


def test_an_edit_that_keeps_the_frame_is_aligned_to_half_a_pixel(params):
    board = checkerboard()
    session = keeping(params, make_run(size=MODEL_SIDE)).start(board)
    image = np.asarray(session.edit(""))
    left, top, right, bottom = session.crop.box
    assert session.crop.box == crop_box((HEIGHT, WIDTH), session.size)
    assert (left, top, right, bottom) == (0, 20, 604, 624)
    assert image.shape == (604, 604, 3)
    assert session.crop.scale == (MODEL_SIDE / 604, MODEL_SIDE / 604)
    apart = shifts(image, board[top:bottom, left:right])
    assert np.abs(apart).max() < 0.5 and np.abs(apart.mean()) < 0.1
    pasted = paste_back(session.history[1].pixels, session.crop, board)
    assert pasted.shape == board.shape
    assert np.abs(shifts(pasted, board)).max() < 0.5
    assert np.array_equal(pasted[:top], board[:top])


@pytest.mark.parametrize(
    ("checks", "size"),
    [
        ((9, 16), (96, 168)),
        ((12, 16), (112, 144)),
        ((16, 12), (144, 112)),
        ((12, 12), (128, 128)),
    ],
)
def test_so_is_one_at_the_shape_of_the_photograph(params, checks, size):
    board = checkerboard(*(CHECK * count for count in checks))
    session = keeping(params, bucketed_run(MODEL_SIDE)).start(board)
    image = np.asarray(session.edit(""))
    assert session.size == size and session.crop.kept >= 0.95
    left, top, right, bottom = session.crop.box
    apart = shifts(image, board[top:bottom, left:right], least=min(checks) - 1)
    assert np.abs(apart).max() < 0.5 and np.abs(apart.mean()) < 0.1
    pasted = paste_back(session.history[1].pixels, session.crop, board)
    assert np.abs(shifts(pasted, board, least=min(checks) - 1)).max() < 0.5


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
