"""Decoding straight to a bucket: as the exact way, and close to it where reduced."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.data import fitting
from anchoredit_jax.data.fitting import decode_to_bucket
from anchoredit_jax.data.images import decode_image, fit_image
from anchoredit_jax.errors import UserError

# The bound that `fitting` states, in levels of 255 and in dB.
MEAN, PSNR = 1.6, 40


def natural(height, width, seed=0):
    """Grey and colour noise of a photograph's spectrum, behind discs with sharp edges:
    uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    fy = np.fft.fftfreq(height)[:, None] * height
    fx = np.fft.rfftfreq(width)[None] * width
    spectrum = 1 / np.maximum(np.hypot(fy, fx), 1)
    phases = np.exp(2j * np.pi * rng.random((2, *spectrum.shape)))
    grey, hue = np.fft.irfft2(spectrum * phases, (height, width))
    grey, hue = grey / grey.std() * 30 + 128, hue / hue.std() * 10
    image = np.stack([grey + hue, grey, grey - hue], -1)
    y, x = np.mgrid[:height, :width]
    for _ in range(12):
        at = rng.random(2) * (height, width)
        radius = rng.uniform(0.02, 0.12) * min(height, width)
        image[np.hypot(y - at[0], x - at[1]) < radius] += rng.normal(0, 30, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(image, kind="JPEG", orientation=None, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    if kind == "JPEG":
        options = {"quality": 90, **options}
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exact(data, size):
    return fit_image(decode_image(Image.open(io.BytesIO(data))), size)[0]


def difference(data, size):
    """(mean absolute difference, PSNR in dB) from the exact way."""
    ours = decode_to_bucket(data, size)
    assert ours.shape == (*size, 3) and ours.dtype == np.uint8
    error = ours.astype(float) - exact(data, size)
    mean_square = max((error**2).mean(), 1e-9)
    return np.abs(error).mean(), 10 * np.log10(255**2 / mean_square)


@pytest.fixture
def factors(monkeypatch):
    """By how much each JPEG was reduced; nothing for one decoded in full."""
    from PIL.JpegImagePlugin import JpegImageFile

    seen, draft = [], JpegImageFile.draft

    def spy(self, mode, size):
        before = self.size
        result = draft(self, mode, size)
        factor = self.decoderconfig[0]
        assert self.size == tuple(-(-side // factor) for side in before)
        seen.append(factor)
        return result

    monkeypatch.setattr(JpegImageFile, "draft", spy)
    return seen


@pytest.mark.parametrize(
    ("source", "size", "reduced"),
    [
        ((700, 900), (192, 192), [2]),
        ((901, 703), (160, 208), [2]),  # odd, and a margin above and below
        ((701, 1203), (96, 160), [4]),
        ((1001, 999), (61, 67), [8]),  # no bucket is odd, but it would work
        ((512, 512), (256, 256), [2]),  # whole pixels: nothing is left to resize
        ((768, 768), (128, 128), [2]),  # a sixth: 4 would leave halves of pixels
        ((1536, 1544), (192, 192), [4]),  # the crop starts at column 4
    ],
)
def test_reduced_jpeg_is_close_to_the_exact_way(factors, source, size, reduced):
    data = encode(natural(*source))
    mean, psnr = difference(data, size)
    assert factors == reduced
    assert mean < MEAN and psnr > PSNR


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((300, 400), (256, 256)),  # shrinks too little
        ((500, 500), (160, 160)),
        ((600, 602), (300, 300)),  # the crop starts at column 1: no whole pixels
        ((100, 130), (256, 192)),  # enlarged
        ((33, 47), (64, 96)),
        ((192, 160), (192, 160)),  # as it is
        ((450, 450), (150, 150)),  # a third
    ],
)
def test_other_jpeg_equals_the_exact_way(factors, source, size):
    data = encode(natural(*source))
    np.testing.assert_array_equal(decode_to_bucket(data, size), exact(data, size))
    assert not factors


@pytest.mark.parametrize("orientation", [None, 0, *range(1, 10)])
@pytest.mark.parametrize(
    ("source", "size", "reduced"),
    [
        ((403, 605), (120, 80), [2]),
        ((403, 605), (40, 56), [4]),
        ((90, 70), (64, 48), []),
    ],
)
def test_orientation(factors, orientation, source, size, reduced):
    data = encode(natural(*source), orientation=orientation)
    mean, psnr = difference(data, size)
    assert factors == reduced
    assert (mean < MEAN and psnr > PSNR) if reduced else mean == 0
    png = encode(natural(*source), "PNG", orientation=orientation)
    np.testing.assert_array_equal(decode_to_bucket(png, size), exact(png, size))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("height", [400, 403, 405])
def test_edges_stay_within_half_a_pixel(factors, orientation, height):
    y, x = np.mgrid[:height, :517]
    board = ((x // 40 + y // 40) % 2 * 255).astype(np.uint8)
    data = encode(board, orientation=orientation, quality=98)
    ours = decode_to_bucket(data, (120, 112))
    true = exact(data, (120, 112))
    assert factors == [2]
    for found, wanted in ((ours, true), (ours.swapaxes(0, 1), true.swapaxes(0, 1))):
        compared = 0
        for line in range(0, len(wanted), 9):
            at, ought = crossings(found[line, :, 0]), crossings(wanted[line, :, 0])
            if np.ptp(wanted[line, 2:-2, 0].astype(int)) < 200:
                continue  # along an edge
            assert len(at) == len(ought) >= 7
            np.testing.assert_allclose(at, ought, atol=0.1)
            compared += 1
        assert compared >= 6


def crossings(line):
    """Where a line of grey crosses the middle, to a fraction of a pixel."""
    high = line.astype(float) - 127.5
    at = np.flatnonzero(np.sign(high[:-1]) != np.sign(high[1:]))
    return at + high[at] / (high[at] - high[at + 1])


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 60}],
)
def test_every_kind_of_jpeg_is_reduced(factors, options):
    mean, psnr = difference(encode(natural(600, 640), **options), (160, 160))
    assert factors == [2] and mean < MEAN and psnr > PSNR


def test_grey_jpeg_is_reduced(factors):
    data = encode(natural(600, 640)[..., 1])
    mean, psnr = difference(data, (160, 160))
    assert factors == [2] and mean < MEAN and psnr > PSNR
    np.testing.assert_array_equal(
        *np.split(decode_to_bucket(data, (160, 160)), 3, 2)[:2]
    )


def test_first_frame_of_several(factors):
    first, second = natural(600, 640), natural(600, 640, seed=1)
    others = {"save_all": True, "append_images": [Image.fromarray(second)]}
    data = encode(first, "MPO", **others)
    mean, psnr = difference(data, (160, 160))
    assert factors == [2] and mean < MEAN and psnr > PSNR
    gif = encode(first, "GIF", **others)
    np.testing.assert_array_equal(
        decode_to_bucket(gif, (160, 160)), exact(gif, (160, 160))
    )


def kinds():
    rgb = natural(300, 340)
    image, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    alpha = Image.fromarray(np.dstack([rgb, rgb[..., :1]]))
    deep = Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)
    return {
        "rgb": encode(image, "PNG"),
        "bmp": encode(image, "BMP"),
        "tiff": encode(image, "TIFF"),
        "webp": encode(image, "WEBP", quality=80),
        "grey": encode(grey, "PNG"),
        "cmyk": encode(image.convert("CMYK")),
        "rgba": encode(alpha, "PNG"),
        "webp alpha": encode(alpha, "WEBP", quality=80),
        "grey alpha": encode(alpha.convert("LA"), "PNG"),
        "palette": encode(image.quantize(16), "PNG", transparency=3),
        "colour key": encode(image, "PNG", transparency=tuple(rgb[9, 9].tolist())),
        "grey key": encode(grey, "PNG", transparency=int(rgb[9, 9, 0])),
        "1 bit": encode(grey.convert("1"), "PNG"),
        "16 bits": encode(deep, "PNG"),
        "float": encode(Image.fromarray(rgb[..., 0] / np.float32(255)), "TIFF"),
    }


@pytest.mark.parametrize("size", [(64, 80), (100, 100), (352, 320)])
def test_all_other_kinds_equal_the_exact_way(factors, size):
    for kind, data in kinds().items():
        ours = decode_to_bucket(data, size)
        np.testing.assert_array_equal(ours, exact(data, size), err_msg=kind)
        assert ours.shape == (*size, 3) and ours.dtype == np.uint8
    assert not factors


def test_only_plain_images_skip_the_exact_way(monkeypatch):
    taken = []

    def spy(data, name, **options):
        taken.append(name)
        return decode_image(data, name=name, **options)

    monkeypatch.setattr(fitting, "decode_image", spy)
    direct = {kind for kind, data in kinds().items() if not seen(taken, data)}
    assert direct == {"rgb", "bmp", "tiff", "webp", "grey"}


def seen(taken, data):
    taken.clear()
    decode_to_bucket(data, (64, 80))
    return taken


def test_the_size_is_never_wrong():
    rng = np.random.default_rng(0)
    for _ in range(150):
        height, width = (int(side) for side in rng.integers(8, 150, 2))
        size = tuple(int(side) for side in rng.integers(1, 90, 2))
        orientation = int(rng.integers(1, 9))
        data = encode(np.zeros((height, width, 3), np.uint8), orientation=orientation)
        assert decode_to_bucket(data, size).shape == (*size, 3)


def test_again_is_the_same_bit_for_bit():
    for source in ((700, 900), (200, 210)):
        data = encode(natural(*source))
        first = decode_to_bucket(data, (192, 176))
        for _ in range(3):
            np.testing.assert_array_equal(decode_to_bucket(data, (192, 176)), first)


def test_the_result_can_be_written():
    for kind in ("JPEG", "PNG"):
        decode_to_bucket(encode(natural(64, 64), kind), (64, 64))[:] = 0


def refusal(data, size=(64, 64)):
    with pytest.raises(UserError) as caught:
        decode_to_bucket(data, size, name="photo 7 of a.tar")
    message = str(caught.value)
    assert "photo 7 of a.tar" in message and "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("size", [(64, 64), (320, 320)])
def test_truncated_data_is_refused_whole(kind, size):
    noise = np.random.default_rng(0).integers(0, 256, (320, 300, 3), np.uint8)
    data = encode(noise, kind)
    for share in (0.01, 0.5, 0.9):
        refusal(data[: int(len(data) * share)], size)


def test_reduced_jpeg_is_refused_where_the_exact_way_refuses():
    data = encode(natural(600, 640))
    for missing in (1, 2, 3, 10, 100, 1000):
        cut = data[:-missing]
        try:
            wanted = exact(cut, (160, 160))
        except UserError:
            assert "damaged" in refusal(cut, (160, 160))
        else:
            ours = decode_to_bucket(cut, (160, 160))
            assert np.abs(ours.astype(int) - wanted).mean() < 1


def test_what_is_no_image_is_refused():
    assert "empty (0 bytes)" in refusal(b"")
    assert "not an image" in refusal(b"no image at all\n" * 50)
    assert "not an image" in refusal(encode(natural(64, 64))[:3])
    icon = encode(natural(64, 64), "ICO")  # Pillow reads it, the policy does not
    assert "formats: PNG" in refusal(icon)


def test_broken_png_is_damaged():
    data = bytearray(encode(natural(64, 64), "PNG"))
    data[data.index(b"IDAT") + 8] ^= 255
    assert "damaged" in refusal(bytes(data))


def test_malformed_exif_does_not_matter(factors):
    for kind in ("JPEG", "PNG"):
        plain, nonsense = (
            encode(natural(600, 640), kind, **options)
            for options in ({}, {"exif": b"Exif\0\0not a tiff header"})
        )
        np.testing.assert_array_equal(
            decode_to_bucket(nonsense, (160, 160)), decode_to_bucket(plain, (160, 160))
        )


def test_strips_and_specks_are_refused():
    for kind in ("JPEG", "PNG"):
        strip = refusal(encode(np.zeros((10, 201, 3), np.uint8), kind))
        assert "201 x 10" in strip and "strip" in strip
        speck = refusal(encode(np.zeros((100, 4, 3), np.uint8), kind))
        assert "4 x 100" in speck and "too small" in speck


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_too_many_pixels_are_refused_before_decoding(factors, side):
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100))):
        png += struct.pack(">I", len(body)) + kind + body
        png += struct.pack(">I", zlib.crc32(kind + body))
    # The frame header of a small JPEG with another size.
    jpeg = bytearray(encode(natural(64, 64)))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", side, side)
    for data in (png, bytes(jpeg)):
        assert "too large" in refusal(data)
    assert not factors
