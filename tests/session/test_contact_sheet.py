import numpy as np

from anchoredit_jax.session.contact_sheet import (
    draw_contact_sheet,
    load_font,
    to_sheet_size,
    wrap,
)


def test_contact_sheet_shows_every_frame_enlarged_without_smoothing():
    frames = [np.full((32, 32, 3), 10 * n, np.uint8) for n in range(13)]
    frames[3][0, 0] = 255
    sheet = np.asarray(draw_contact_sheet(frames, [f"turn {n}" for n in range(13)]))
    shown = {tuple(row) for row in sheet.reshape(-1, 3)}
    assert {(10 * n,) * 3 for n in range(13)} <= shown
    assert sheet.shape[1] > 4 * 192
    enlarged = to_sheet_size(frames[3])
    assert enlarged.shape == (192, 192, 3)
    assert (enlarged[:6, :6] == 255).all() and (enlarged[6:] == 30).all()


def test_large_and_narrow_frames_fit_the_contact_sheet():
    assert to_sheet_size(np.zeros((1000, 500, 3), np.uint8)).shape == (320, 160, 3)
    frames = [np.zeros((90, 30, 3), np.uint8)] * 2
    assert draw_contact_sheet(frames, ["source", "word " * 40]).width > 2 * 192


def test_captions_are_wrapped_to_the_width():
    font = load_font(15)
    text = "paint the circle at the bottom right green " + "x" * 80
    lines = wrap(text, font, 192)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(font.getlength(line) for line in lines) <= 192
    assert len(lines) > 3 and wrap("", font, 192) == [""]


def test_captions_do_not_overlap_the_frames():
    frames = [np.zeros((32, 32, 3), np.uint8)] * 3
    bare = np.asarray(draw_contact_sheet(frames, ["", "", ""], columns=3))
    long = np.asarray(draw_contact_sheet(frames, ["a", "long " * 30, "b"], columns=3))
    height = 14 + 192
    np.testing.assert_array_equal(long[:height], bare[:height])
    assert (long[height + 5 :] < 200).any() and long.shape[0] > bare.shape[0]
    assert (bare[height:] == 255).all()
