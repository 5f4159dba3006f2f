"""Contact sheets and drift curves."""

import numpy as np
from PIL import Image

from anchoredit_jax.evaluation import (
    PolicyRun,
    SheetRow,
    draw_sheet,
    score_sessions,
    stack_sheets,
    summarise,
)
from anchoredit_jax.evaluation.contact_sheet import RIGHT, WRONG
from anchoredit_jax.evaluation.pictures import sheet, story_picture
from anchoredit_jax.evaluation.plots import plot_drift


def count(picture, colour) -> int:
    return int((np.asarray(picture) == colour).all(-1).sum())


def test_frames_are_enlarged_without_smoothing():
    image = np.zeros((2, 4, 4, 3), np.uint8)
    image[0, :2], image[1, :, :2] = (255, 0, 0), (0, 0, 255)
    picture = draw_sheet([SheetRow("a row", image)], ["one", "two"], cell=40)
    assert count(picture, (255, 0, 0)) == count(picture, (0, 0, 255)) == 800


def test_marks():
    images = np.full((3, 4, 4, 3), 200, np.uint8)
    row = SheetRow("row", images, (None, True, False))
    picture = draw_sheet([row], ["", "", ""], cell=40)
    assert count(picture, RIGHT) == count(picture, WRONG) == 48**2 - 40**2
    plain = draw_sheet([SheetRow("row", images)], ["", "", ""], cell=40)
    assert count(plain, RIGHT) == count(plain, WRONG) == 0


def test_long_captions_are_wrapped_not_cut():
    images = np.zeros((1, 4, 4, 3), np.uint8)
    short = draw_sheet([SheetRow("row", images)], ["add"], cell=100)
    long = draw_sheet(
        [SheetRow("row", images)], ["add a red circle at the top left"], cell=100
    )
    assert long.width == short.width and long.height >= short.height + 15


def test_stacked_sheets():
    parts = [Image.new("RGB", (10, 4), "red"), Image.new("RGB", (20, 6), "blue")]
    stacked = stack_sheets(parts)
    assert stacked.size == (20, 10)
    assert stacked.getpixel((15, 2)) == (255, 255, 255)
    assert stacked.getpixel((15, 7)) == (0, 0, 255)


def test_story_marks_only_the_last_frame(stories, perfect_stories):
    wrong = perfect_stories.copy()
    wrong[:, -1] = 0
    runs = {
        "full": PolicyRun(wrong, score_sessions(stories, wrong)),
        "sink1_window3": PolicyRun(
            perfect_stories, score_sessions(stories, perfect_stories)
        ),
        "window3": PolicyRun(wrong, score_sessions(stories, wrong)),
    }
    picture = story_picture(stories[1], 1, runs)
    frame = 136**2 - 128**2  # of 4 pixels around 128
    assert count(picture, RIGHT) == count(picture, WRONG) == frame


def test_sheet_marks_every_edit(sessions, perfect):
    runs = {"full": PolicyRun(perfect, score_sessions(sessions, perfect))}
    picture = sheet(sessions[2], 2, runs)
    assert count(picture, RIGHT) == 6 * (104**2 - 96**2)
    assert count(picture, WRONG) == 0


def test_drift_plot(tmp_path, sessions, perfect):
    per_turn = summarise(score_sessions(sessions, perfect))["per_turn"]
    path = tmp_path / "drift.png"
    plot_drift({"full history": per_turn, "window 3": per_turn}, path, "toy")
    with Image.open(path) as picture:
        assert picture.width > 1000 and picture.getextrema()[0][0] < 100
