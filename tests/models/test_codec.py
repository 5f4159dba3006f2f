"""The patch codec: exact, normalised in one place, on numpy and jax alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.encoders import make_codec
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import (
    CodecConfig,
    PatchCodec,
    PatchSettings,
    from_uint8,
    to_uint8,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 12, 3), np.uint8)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_round_trip_gives_back_every_pixel(stride, as_array):
    codec = make_codec(CodecConfig(patch=PatchSettings(stride)))
    latents = codec.encode(from_uint8(as_array(PIXELS)))
    assert latents.dtype == np.float32
    assert latents.shape == (2, 3, 8 // stride, 12 // stride, codec.channels)
    assert codec.channels == 3 * stride**2 + 4
    assert isinstance(latents, type(as_array(PIXELS)))
    np.testing.assert_array_equal(to_uint8(codec.decode(latents)), PIXELS)


def test_a_latent_is_one_square_of_pixels():
    latents = PatchCodec(2).encode(from_uint8(PIXELS))
    square = from_uint8(PIXELS)[1, 2, 4:6, 6:8]
    np.testing.assert_array_equal(latents[1, 2, 2, 3, :12], square.reshape(-1) / 0.5)


def test_latents_know_where_they_are():
    """The last four channels are the same for every image, and differ by place."""
    codec = PatchCodec(2)
    first, second = (
        codec.encode(from_uint8(PIXELS[0])),
        codec.encode(from_uint8(PIXELS[1])),
    )
    place = first[0, ..., 12:]
    np.testing.assert_array_equal(place, second[-1, ..., 12:])
    assert (
        len(np.unique(place.reshape(-1, 4), axis=0)) == place.shape[0] * place.shape[1]
    )
    changed = first.copy()
    changed[..., 12:] += 1.0
    np.testing.assert_array_equal(codec.decode(changed), codec.decode(first))


def test_mean_and_std_are_applied_in_the_right_place_and_undone():
    images = from_uint8(PIXELS)
    codec = PatchCodec(2, mean=0.25, std=0.4)
    plain = PatchCodec(2, mean=0.0, std=1.0).encode(images)
    np.testing.assert_allclose(
        codec.encode(images)[..., :12], (plain[..., :12] - 0.25) / 0.4, rtol=1e-6
    )
    np.testing.assert_allclose(codec.decode(codec.encode(images)), images, atol=1e-6)


def test_decoded_images_stay_in_range():
    latents = 100 * np.ones((1, 2, 2, 12), np.float32)
    assert PatchCodec(2).decode(latents).max() == 1.0
    assert PatchCodec(2).decode(-latents).min() == -1.0


def test_numpy_and_traced_jax_agree():
    codec = PatchCodec(2)
    images = from_uint8(PIXELS)
    traced = jax.jit(lambda x: to_uint8(codec.decode(codec.encode(x))))(images)
    np.testing.assert_array_equal(traced, PIXELS)
    np.testing.assert_array_equal(jax.jit(codec.encode)(images), codec.encode(images))


def test_bytes_and_floats_are_inverse_and_rounded():
    every = np.arange(256, dtype=np.uint8)
    floats = from_uint8(every)
    assert floats[0] == -1.0 and floats[-1] == 1.0 and floats.dtype == np.float32
    np.testing.assert_array_equal(to_uint8(floats), every)
    assert to_uint8(np.float32([-2, 2, 0.9 / 127.5 - 1])).tolist() == [0, 255, 1]


def test_sides_that_do_not_divide_name_the_nearest_size():
    with pytest.raises(UserError, match="1001 x 1002.*multiples of 4.*1000 x 1000"):
        PatchCodec(4).encode(np.zeros((1001, 1002, 3), np.float32))


def test_unknown_kind_and_stride_are_refused():
    with pytest.raises(UserError, match="codec.kind 'vae9'.*patch, wan_vae"):
        CodecConfig(kind="vae9")
    with pytest.raises(UserError, match="patch.stride must be in"):
        CodecConfig(patch=PatchSettings(0))
