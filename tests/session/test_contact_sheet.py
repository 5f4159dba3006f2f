import numpy as np
from PIL import Image, ImageDraw

from anchoredit_jax.session import lettering
from anchoredit_jax.session.contact_sheet import (
    draw_contact_sheet,
    to_sheet_size,
)
from anchoredit_jax.session.lettering import DEJAVU, Lettering


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
    font = Lettering(15)
    text = "paint the circle at the bottom right green " + "x" * 80
    lines = font.wrap(text, 192)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(font.getlength(line) for line in lines) <= 192
    assert len(lines) > 3 and font.wrap("", 192) == [""]


def test_captions_do_not_overlap_the_frames():
    frames = [np.zeros((32, 32, 3), np.uint8)] * 3
    bare = np.asarray(draw_contact_sheet(frames, ["", "", ""], columns=3))
    long = np.asarray(draw_contact_sheet(frames, ["a", "long " * 30, "b"], columns=3))
    height = 14 + 192
    np.testing.assert_array_equal(long[:height], bare[:height])
    assert (long[height + 5 :] < 200).any() and long.shape[0] > bare.shape[0]
    assert (bare[height:] == 255).all()


MIXED = "голова κεφαλή tête 猫"


def test_every_letter_has_a_font_or_is_escaped(monkeypatch):
    monkeypatch.setattr(lettering, "system_fonts", lambda: ())
    lettering._file_with.cache_clear()
    ((font, text),) = Lettering(15)._parts(MIXED)
    assert font.path == DEJAVU and text == "голова κεφαλή tête \\u732b"
    lettering._file_with.cache_clear()


def test_a_font_of_the_system_writes_what_dejavu_lacks(monkeypatch):
    """Any font with a letter that DejaVu lacks stands for one that has Chinese."""
    other = DEJAVU.replace("DejaVuSans", "STIXGeneral")
    letters = lettering._letters(other) - lettering._letters(DEJAVU)
    letter = chr(min(number for number in letters if number > 255))
    monkeypatch.setattr(lettering, "system_fonts", lambda: (other,))
    lettering._file_with.cache_clear()
    parts = list(Lettering(15)._parts(f"a{letter}b"))
    lettering._file_with.cache_clear()
    assert [(font.path, text) for font, text in parts] == [
        (DEJAVU, "a"),
        (other, letter),
        (DEJAVU, "b"),
    ]


def test_text_is_as_wide_as_it_is_long():
    sheet = Image.new("RGB", (300, 30), "white")
    font = Lettering(15)
    font.draw(ImageDraw.Draw(sheet), (0, 0), MIXED, (0, 0, 0))
    columns = np.flatnonzero((np.asarray(sheet) < 200).any((0, 2)))
    assert abs(columns.max() - font.getlength(MIXED)) < 4 and columns.min() < 4
