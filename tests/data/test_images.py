"""Decoding of every kind of image file, refusals, crop, and the way back."""

import warnings

import numpy as np
import pytest
from PIL import Image, features

from anchoredit_jax.data import images
from anchoredit_jax.data.images import decode_image, fit_image, map_back, paste_back
from anchoredit_jax.errors import UserError

from .raw_files import png_header


def gradient(height=12, width=16):
    """A smooth colour image: JPEG keeps it nearly."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // width, y * 255 // height, 128 + 0 * x]
    return np.stack(channels, -1).astype(np.uint8)


def write(tmp_path, name, image, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def refusal(source):
    with pytest.raises(UserError) as caught:
        decode_image(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm", "jp2"])
def test_lossless_formats_decode_exactly(tmp_path, suffix):
    lossless = {"lossless": True} if suffix == "webp" else {}
    path = write(tmp_path, f"a.{suffix}", Image.fromarray(gradient()), **lossless)
    np.testing.assert_array_equal(decode_image(path), gradient())
    np.testing.assert_array_equal(decode_image(str(path)), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_before_the_size_is_read(tmp_path, orientation):
    # What a viewer shows: a 4 x 2 image whose pixels are all different.
    shown = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    # How a camera stores it, for each value of the tag (EXIF 2.32, 4.6.4).
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.swapaxes(0, 1),
        6: np.rot90(shown, 1),
        7: shown[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(shown, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    path = write(tmp_path, "a.png", image, exif=exif)
    np.testing.assert_array_equal(decode_image(path), shown)


@pytest.mark.parametrize("orientation", [0, 9])
def test_nonsense_orientation_is_no_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, "a.png", Image.fromarray(gradient()), exif=exif)
    np.testing.assert_array_equal(decode_image(path), gradient())


def test_malformed_exif_does_not_matter(tmp_path):
    path = write(
        tmp_path,
        "a.png",
        Image.fromarray(gradient()),
        exif=b"Exif\0\0not a tiff header",
    )
    np.testing.assert_array_equal(decode_image(path), gradient())


def test_alpha_is_composited_on_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (255, 0, 0, 255)
    rgba[0, 1] = (0, 0, 255, 0)  # invisible: its colour must not show
    rgba[1, 0] = (0, 0, 0, 128)
    decoded = decode_image(write(tmp_path, "a.png", Image.fromarray(rgba)))
    assert decoded[0, 0].tolist() == [255, 0, 0]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    assert decoded[1, 1].tolist() == [255, 255, 255]
    assert abs(int(decoded[1, 0, 0]) - 127) <= 1


def test_the_colour_behind_transparency_can_be_chosen():
    clear = np.zeros((2, 2, 4), np.uint8)
    assert decode_image(clear, background=(1, 2, 3))[0, 0].tolist() == [1, 2, 3]


def test_grey_with_alpha(tmp_path):
    la = np.array([[[40, 255], [40, 0]]], np.uint8)
    decoded = decode_image(write(tmp_path, "a.png", Image.fromarray(la, "LA")))
    assert decoded[0].tolist() == [[40, 40, 40], [255, 255, 255]]


@pytest.mark.parametrize("transparent", [False, True])
def test_palette_is_expanded(tmp_path, transparent):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    options = {"transparency": 1} if transparent else {}
    decoded = decode_image(write(tmp_path, "a.png", image, **options))
    second = [255, 255, 255] if transparent else [200, 100, 50]
    assert decoded[0].tolist() == [[10, 20, 30], second]


def test_colour_key_of_an_rgb_png_is_transparency(tmp_path):
    array = np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8)
    image = Image.fromarray(array)
    path = write(tmp_path, "a.png", image, transparency=(9, 9, 9))
    assert decode_image(path)[0].tolist() == [[1, 2, 3], [255, 255, 255]]


def test_grey_and_one_bit(tmp_path):
    grey = Image.fromarray(np.array([[0, 77]], np.uint8))
    assert decode_image(write(tmp_path, "a.png", grey))[0, 1].tolist() == [77] * 3
    bits = Image.fromarray(np.array([[False, True]]))
    assert decode_image(write(tmp_path, "b.png", bits))[0, 1].tolist() == [255] * 3


def test_cmyk_becomes_rgb(tmp_path):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # red ink
    decoded = decode_image(write(tmp_path, "a.jpg", cmyk, quality=95))
    assert np.abs(decoded[8, 8].astype(int) - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_ramp_becomes_an_8_bit_ramp(tmp_path, suffix):
    deep = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(2, 0)
    decoded = decode_image(write(tmp_path, f"a.{suffix}", Image.fromarray(deep)))
    assert np.abs(decoded[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    np.testing.assert_array_equal(decode_image(deep), decoded)


def test_float_image_is_scaled_by_range(tmp_path):
    unit = np.linspace(0, 1, 8, dtype=np.float32)[None]
    half = write(tmp_path, "a.tiff", Image.fromarray(unit / 2))
    assert decode_image(half)[0, -1, 0] in (127, 128)
    wide = write(tmp_path, "b.tiff", Image.fromarray(unit * 900 - 100))
    assert decode_image(wide)[0, [0, -1], 0].tolist() == [0, 255]
    lost = unit.copy()
    lost[0, 0] = np.nan
    assert decode_image(write(tmp_path, "c.tiff", Image.fromarray(lost)))[0, 0, 0] == 0


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = write(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert decode_image(path)[0, 0].tolist() == [255, 0, 0]


def test_missing_file_folder_empty_file_and_text_are_refused_by_name(tmp_path):
    assert "missing.png' does not exist" in refusal(tmp_path / "missing.png")
    assert "is not a file" in refusal(tmp_path)
    empty = tmp_path / "empty.png"
    empty.touch()
    assert "empty.png' is empty" in refusal(empty)
    text = tmp_path / "text.png"
    text.write_text("no image at all\n" * 50)
    message = refusal(text)
    assert "text.png' is not an image" in message and "PNG" in message


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff"])
def test_truncated_file_is_refused_whole(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = write(tmp_path, f"a.{suffix}", Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    message = refusal(path)
    assert f"a.{suffix}'" in message and ("damaged" in message or "read" in message)


def test_png_with_a_broken_chunk_is_refused(tmp_path):
    path = write(tmp_path, "a.png", Image.fromarray(gradient()))
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 8] ^= 255
    path.write_bytes(data)
    assert "a.png' is damaged" in refusal(path)


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_decompression_bomb_is_refused_before_decoding(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(path)
    assert "bomb.png' is too large" in message and "80,000,000" in message


def test_a_files_content_is_decoded_like_the_file(tmp_path):
    path = write(tmp_path, "a.png", Image.fromarray(gradient()))
    data = path.read_bytes()
    np.testing.assert_array_equal(decode_image(data), gradient())
    for content, words in (
        (b"", "image 'a\\nb.0.png' is empty"),
        (b"text" * 50, "'a\\nb.0.png' is not an image"),
        (data[:60], "image 'a\\nb.0.png' "),
        (png_header(9_000, 9_000), "image 'a\\nb.0.png' is too large"),
    ):
        with pytest.raises(UserError) as caught:
            decode_image(content, name="a\nb.0.png")
        assert str(caught.value).startswith(words)
        too_large = isinstance(caught.value, images.TooLargeError)
        assert too_large == ("too large" in words)


@pytest.mark.skipif(
    "avif" not in features.modules or not features.check("avif"),
    reason="this Pillow reads no AVIF",
)
def test_damaged_avif_is_refused(tmp_path):
    # Its decoder raises what no other does.
    path = write(tmp_path, "a.avif", Image.fromarray(gradient(32, 32)))
    data = path.read_bytes()
    at = data.index(b"mdat") + 4
    path.write_bytes(data[:at] + bytes(len(data) - at))
    assert "a.avif' is damaged" in refusal(path)


def test_arrays_and_pillow_images_are_taken():
    np.testing.assert_array_equal(decode_image(gradient()), gradient())
    np.testing.assert_array_equal(decode_image(Image.fromarray(gradient())), gradient())
    grey = gradient()[..., 0]
    np.testing.assert_array_equal(decode_image(grey)[..., 2], grey)
    np.testing.assert_array_equal(decode_image(grey[..., None])[..., 1], grey)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_kind_are_refused(array):
    assert "expected an image array of uint8" in refusal(array)


def test_decoding_gives_a_copy():
    array = gradient()
    decode_image(array)[:] = 0
    np.testing.assert_array_equal(array, gradient())


@pytest.mark.parametrize(
    ("height", "width", "size", "box"),
    [
        (40, 100, (32, 32), (30, 0, 70, 40)),
        (100, 40, (32, 32), (0, 30, 40, 70)),
        (60, 60, (32, 64), (0, 15, 60, 45)),
        (1000, 1002, (32, 32), (1, 0, 1001, 1000)),
        (32, 32, (32, 32), (0, 0, 32, 32)),
    ],
)
def test_crop_is_the_largest_centred_box_of_the_aspect(height, width, size, box):
    fitted, crop = fit_image(np.zeros((height, width, 3), np.uint8), size)
    assert fitted.shape == (*size, 3)
    assert crop.box == box and crop.source == (height, width) and crop.size == size
    assert crop.scale == pytest.approx((size[0] / crop.box_size[0],) * 2)


def test_an_image_of_the_models_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    fitted, crop = fit_image(image, (32, 32))
    np.testing.assert_array_equal(fitted, image)
    np.testing.assert_array_equal(map_back(fitted, crop), image)


def test_an_enlarged_pixel_picture_comes_back_exactly():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    fitted, _ = fit_image(image.repeat(8, 0).repeat(8, 1), (32, 32))
    np.testing.assert_array_equal(fitted, image)


def test_too_small_and_too_narrow_images_are_refused():
    with pytest.raises(UserError, match="4 x 100 pixels is too small.* 8"):
        fit_image(np.zeros((100, 4, 3), np.uint8), (32, 32))
    with pytest.raises(UserError, match="strip.* 20 times"):
        fit_image(np.zeros((10, 201, 3), np.uint8), (32, 32))


def test_paste_back_changes_the_crop_and_nothing_else():
    source = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    _, crop = fit_image(source, (32, 32))
    pasted = paste_back(np.zeros((32, 32, 3), np.uint8), crop, source)
    left, top, right, bottom = crop.box
    assert (left, right) == (15, 65)
    assert not pasted[top:bottom, left:right].any()
    np.testing.assert_array_equal(pasted[:, :left], source[:, :left])
    np.testing.assert_array_equal(pasted[:, right:], source[:, right:])
    with pytest.raises(UserError, match="80 x 50"):
        paste_back(np.zeros((32, 32, 3), np.uint8), crop, source[:40])


def test_down_and_up_again_is_aligned_to_half_a_pixel():
    # A 604 x 644 checkerboard; the way back must not shift its edges.
    y, x = np.mgrid[:644, :604]
    board = ((x // 76 + y // 76) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    fitted, crop = fit_image(board, (256, 256))
    assert map_back(fitted, crop).shape == (604, 604, 3)
    back = paste_back(fitted, crop, board)[..., 0].astype(float)
    top = crop.box[1]
    for line, ours in (
        (board[top + 100, :, 0], back[top + 100]),
        (board[top : top + 604, 100, 0], back[top : top + 604, 100]),
    ):
        true, found = crossings(line.astype(float)), crossings(ours)
        assert len(true) == len(found) >= 7
        np.testing.assert_allclose(found, true, atol=0.5)


def crossings(line):
    """Where a line of grey crosses the middle, to a fraction of a pixel."""
    high = line - 127.5
    at = np.flatnonzero(np.sign(high[:-1]) != np.sign(high[1:]))
    return at + high[at] / (high[at] - high[at + 1])


def test_limits_are_those_of_the_policy():
    assert images.MAX_PIXELS < Image.MAX_IMAGE_PIXELS  # Pillow's own warning level
