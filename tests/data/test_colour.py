"""Colour profiles: every kind of photograph comes out as sRGB, and is written so."""

import io
import logging

import numpy as np
import pytest
from PIL import Image, ImageCms

from anchoredit_jax.data.adobe_rgb import adobe_rgb_profile
from anchoredit_jax.data.colour import srgb_image, srgb_profile
from anchoredit_jax.data.fitting import decode_to_bucket
from anchoredit_jax.data.images import decode_image, fit_image
from anchoredit_jax.data.prepared import prepare

from .colour_profiles import (
    ADOBE,
    ADOBE_GAMMA,
    P3,
    SRGB,
    cmyk_profile,
    encode_in,
    grey_profile,
    rgb_profile,
)
from .raw_files import encode, members, write_folder

# Of both wide spaces a part: the others would need colours that sRGB does not have.
COLOURS = np.array([(200, 100, 50), (30, 160, 90), (90, 60, 200), (128, 128, 128)])


def picture(pixels, mode=None):
    """16 x 16 pixels of each colour, side by side."""
    blocks = np.repeat(np.repeat(np.asarray(pixels, np.uint8)[None], 16, 0), 16, 1)
    return Image.fromarray(blocks, mode) if mode else Image.fromarray(blocks)


def colours(decoded):
    return decoded[8, 8::16].astype(int)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("space", ["p3", "adobe"])
def test_wide_colours_become_srgb(space, form):
    primaries, gamma = {"p3": (P3, None), "adobe": (ADOBE, ADOBE_GAMMA)}[space]
    stored = encode_in(primaries, gamma, COLOURS)
    assert np.abs(stored.astype(int) - COLOURS).max() > 20
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = encode(
        picture(stored), form, icc_profile=rgb_profile(primaries, gamma),
        **options.get(form, {}),
    )  # fmt: skip
    exact = decode_image(data)
    assert np.abs(colours(exact) - COLOURS).max() <= 4
    # Both other ways of a data loader: decoded at a fraction, and cut before.
    for size in ((8, 32), (12, 48)):
        fitted = decode_to_bucket(data, size)
        close = np.abs(fitted.astype(int) - fit_image(exact, size)[0])
        assert close.max() <= (3 if form == "JPEG" else 0)


def test_transparency_palettes_and_orientation_keep_their_profile():
    stored, icc = encode_in(P3, None, COLOURS), rgb_profile(P3)
    rgba = picture(stored).convert("RGBA")
    assert (
        np.abs(colours(decode_image(encode(rgba, icc_profile=icc))) - COLOURS).max()
        <= 4
    )
    palette = picture(stored).quantize(8)
    found = colours(decode_image(encode(palette, icc_profile=icc)))
    assert np.abs(found - COLOURS).max() <= 4
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = decode_image(encode(picture(stored), icc_profile=icc, exif=exif))
    assert np.abs(colours(turned[:, ::-1]) - COLOURS).max() <= 4


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_has_profiles_too(mode):
    grey = Image.fromarray(np.full((16, 16), 128, np.uint8))
    if mode == "I;16":
        grey = Image.fromarray(np.full((16, 16), 128 * 257, np.uint16))
    elif mode == "LA":
        grey = grey.convert("LA")
    decoded = decode_image(encode(grey, icc_profile=grey_profile(1.0)))
    assert np.abs(decoded.astype(int) - 188).max() <= 2  # half of the light


def test_cmyk_by_its_profile():
    sheet = Image.new("CMYK", (16, 16), (0, 0, 0, 255))
    decoded = decode_image(encode(sheet, "TIFF", icc_profile=cmyk_profile(50)))
    assert np.abs(decoded.astype(int) - 119).max() <= 2  # L* 50
    assert (decode_image(encode(sheet, "TIFF")) == 0).all()


def test_srgb_under_any_name_changes_no_bit(caplog):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    for icc in (srgb_profile(), rgb_profile(SRGB), None):
        data = encode(Image.fromarray(pixels), icc_profile=icc)
        np.testing.assert_array_equal(decode_image(data), pixels)
    assert not caplog.records


@pytest.mark.parametrize("icc", [b"x" * 300, grey_profile(2.2), cmyk_profile()])
def test_broken_and_foreign_profiles_are_told_and_left_out(icc, caplog, tmp_path):
    pixels = np.asarray(picture(COLOURS))
    data = encode(Image.fromarray(pixels), icc_profile=icc)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(decode_image(data, name="cat.png"), pixels)
    (record,) = caplog.records
    assert "the colour profile of image 'cat.png' is " in record.getMessage()
    assert "count as sRGB" in record.getMessage()
    caplog.clear()
    write_folder(tmp_path / "raw" / "a", members("a", data=data))
    report = prepare(tmp_path / "raw", tmp_path / "out")
    assert report.kept == 1 and len(report.notes) == 3
    assert "kept, but: 3" in report.describe() and not caplog.records
    decode_to_bucket(data, (16, 64))
    assert not caplog.records  # told when the data was prepared


def test_what_is_written_has_the_profile_and_comes_back(tmp_path):
    pixels = np.asarray(picture(COLOURS))
    srgb_image(pixels).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["icc_profile"] == srgb_profile()
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), pixels)


def test_the_profile_that_is_written_is_srgb_and_always_the_same():
    profile = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    assert "sRGB" in ImageCms.getProfileName(profile)
    srgb_profile.cache_clear()
    assert srgb_profile()[24:36] == bytes.fromhex("07d000010001000000000000")


def adobe_by_exif(colours, colour_space=65535, index="R03", mode="RGB"):
    exif = Image.Exif()
    exif[0x8769] = {0xA001: colour_space, 0xA005: {1: index}}
    image = Image.fromarray(np.broadcast_to(colours, (16, 16, 3)).astype(np.uint8))
    file = io.BytesIO()
    image.convert(mode).save(file, "PNG", exif=exif)
    return file.getvalue()


def test_adobe_rgb_by_exif_alone_becomes_srgb():
    colour = np.array([[200, 60, 90]])
    stored = encode_in(ADOBE, ADOBE_GAMMA, colour)
    assert np.abs(stored.astype(int) - colour).max() > 10
    found = decode_image(adobe_by_exif(stored))[0, 0]
    assert np.abs(found.astype(int) - colour).max() <= 2
    # sRGB, a space that nobody names, and grey stay as they are.
    for told in ({"colour_space": 1}, {"index": "R98"}):
        left = decode_image(adobe_by_exif(stored, **told))[0, 0]
        assert np.array_equal(left, stored[0])
    grey = np.full((1, 3), 77)
    assert (decode_image(adobe_by_exif(grey, mode="L")) == 77).all()


def test_our_profile_of_adobe_rgb_is_that_of_its_definition():
    colours = np.random.default_rng(0).integers(0, 256, (64, 3))
    pixels = Image.fromarray(colours[None].astype(np.uint8))
    ours, theirs = pixels.copy(), pixels.copy()
    ours.info["icc_profile"] = adobe_rgb_profile()
    theirs.info["icc_profile"] = rgb_profile(ADOBE, ADOBE_GAMMA)
    assert np.array_equal(decode_image(ours), decode_image(theirs))
