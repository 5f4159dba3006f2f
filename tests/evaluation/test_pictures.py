"""Contact sheets and drift curves."""

import dataclasses

import numpy as np
from PIL import Image

from anchoredit_jax.data.sprites import score_sessions
from anchoredit_jax.evaluation import PolicyRun
from anchoredit_jax.evaluation.cases import followed, sprite_cases
from anchoredit_jax.evaluation.frame_store import open_store
from anchoredit_jax.evaluation.parts.story import story_picture
from anchoredit_jax.evaluation.pictures import FIGURES, SPRITES, plot_drift, sheet
from anchoredit_jax.evaluation.summary import summarise
from anchoredit_jax.session.contact_sheet import (
    RIGHT,
    WRONG,
    SheetRow,
    draw_sheet,
    stack_sheets,
)


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


def finished(folder, sessions, images) -> PolicyRun:
    cases, store = sprite_cases(sessions, 32), open_store(folder, {})
    for case, frames in zip(cases, images, strict=True):
        store.write(case, frames)
    scores = score_sessions(sessions, images)
    return PolicyRun(cases, store, followed(scores), scores)


def test_story_marks_only_the_last_frame(tmp_path, stories, perfect_stories):
    wrong = perfect_stories.copy()
    wrong[:, -1] = 0
    runs = {
        "full": finished(tmp_path / "full", stories, wrong),
        "sink1_window3": finished(tmp_path / "sink", stories, perfect_stories),
        "window3": finished(tmp_path / "window", stories, wrong),
    }
    picture = story_picture(runs, row=1)
    frame = 136**2 - 128**2  # of 4 pixels around 128
    assert count(picture, RIGHT) == count(picture, WRONG) == frame


def test_sheet_marks_every_edit(tmp_path, sessions, perfect):
    picture = sheet({"full": finished(tmp_path, sessions, perfect)}, sessions=2)
    assert count(picture, RIGHT) == 2 * 6 * (104**2 - 96**2)
    assert count(picture, WRONG) == 0


def test_sheets_of_other_sessions_have_no_marks(tmp_path, sessions, perfect):
    run = finished(tmp_path, sessions, perfect)
    run = dataclasses.replace(run, scores=None)
    picture = sheet({"full": run}, sessions=1)
    assert count(picture, RIGHT) == count(picture, WRONG) == 0


def test_drift_plot(tmp_path, sessions, perfect):
    scores = score_sessions(sessions, perfect)
    per_turn = summarise(followed(scores), scores)["per_turn"]
    path = tmp_path / "drift.png"
    lines = {"full history": per_turn, "window 3": per_turn}
    assert plot_drift(lines, SPRITES.measures, path, "toy")
    with Image.open(path) as picture:
        assert picture.width > 1000 and picture.getextrema()[0][0] < 100


def test_a_line_may_lack_a_measure(tmp_path):
    """Of the truth not everything is known; it has its place in the legend."""
    value = {"mean": 0.5, "low": 0.4, "high": 0.6, "count": 9}
    lines = {"toy": {"success": [value]}, "ground truth": {"state": [value]}}
    assert plot_drift(lines, SPRITES.measures, tmp_path / "drift.png")


def test_a_figure_without_values_is_not_drawn(tmp_path):
    nothing = {"mean": None, "low": None, "high": None, "count": 0}
    lines = {"window 3": {"success": [nothing, nothing]}}
    assert not plot_drift(lines, SPRITES.measures, tmp_path / "drift.png")
    assert not (tmp_path / "drift.png").exists()


def test_no_measure_is_in_two_figures():
    names = [measure.name for figure in FIGURES for measure in figure.measures]
    assert len(set(names)) == len(names)
