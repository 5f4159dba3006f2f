"""The error of encoding and of decoding in bfloat16, and who may have which."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from anchoredit_jax.data.pixel_error import MAX_PSNR
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.parts.codec import (
    codec_error,
    round_layers,
    round_values,
    ssim,
)
from anchoredit_jax.models.codec import (
    PatchCodec,
    WanVaeSettings,
    from_uint8,
    to_uint8,
)
from anchoredit_jax.models.wan_vae import (
    Decoder,
    WanCodec,
    WanVaeConfig,
    decode,
    encode,
    init_params,
)

# Three levels, as in the tests of the VAE itself: the same layers, quick to compile.
SMALL = WanVaeConfig(dim=4, multipliers=(1, 2, 2), blocks=1, temporal=(False, True))
HALF = dataclasses.replace(SMALL, dtype="bfloat16")
ORDER = [(e, d) for e in ("float32", "bfloat16") for d in ("float32", "bfloat16")]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 16, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda key: init_params(SMALL, key))(jax.random.key(0))


@pytest.fixture(scope="module")
def trips(params):
    return codec_error(WanCodec(params, SMALL), IMAGES)


def test_encoding_is_float32_and_its_error_in_bfloat16_is_reported(params, trips):
    """Row 34 of the user reports: encoding in bfloat16 compounds, decoding does not.

    The config check: one dtype is named by the configs, and it is the decoder's. The
    program that encodes holds no value of 16 bits, whatever that dtype is, while the
    one that decodes does. What bfloat16 would cost is measured.
    """
    for config in (WanVaeSettings, WanVaeConfig):
        fields = [field.name for field in dataclasses.fields(config)]
        assert [name for name in fields if "dtype" in name] == ["dtype"]
    images, latents = jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 2, 2, 16))
    for config, halves in ((SMALL, False), (HALF, True)):
        encoding = jax.make_jaxpr(encode, static_argnums=2)(params, images, config)
        decoding = jax.make_jaxpr(decode, static_argnums=2)(params, latents, config)
        assert "bf16" not in str(encoding)
        assert ("bf16" in str(decoding)) is halves

    by_dtype = {(trip.encode_dtype, trip.decode_dtype): trip for trip in trips}
    assert list(by_dtype) == ORDER
    for (encoding, _), trip in by_dtype.items():
        assert trip.psnr.shape == trip.ssim.shape == trip.latent_error.shape == (2,)
        if encoding == "float32":
            assert (trip.latent_error == 0).all()
        else:
            assert ((1e-4 < trip.latent_error) & (trip.latent_error < 0.1)).all()
    # All four differ, so each precision acts.
    assert len({tuple(trip.ssim) for trip in trips}) == 4


def test_float32_is_what_sessions_compute(params, trips):
    codecs = WanCodec(params, SMALL), WanCodec(params, HALF)
    for codec, trip in zip(codecs, trips[:2], strict=True):
        for i, image in enumerate(IMAGES):
            decoded = to_uint8(codec.decode(codec.encode(from_uint8(image[None]))))[0]
            mse = np.mean(np.square((decoded - image.astype(float)) / 255))
            assert trip.psnr[i] == pytest.approx(-10 * np.log10(mse), abs=1e-3)
            assert trip.ssim[i] == pytest.approx(ssim(decoded, image), abs=1e-3)


def test_the_codecs_own_dtype_does_not_matter(params, trips):
    alone = codec_error(WanCodec(params, HALF), IMAGES[:1])
    for ours, theirs in zip(alone, trips, strict=True):
        assert (
            ours.ssim == theirs.ssim[:1]
            and ours.latent_error == theirs.latent_error[:1]
        )


def test_rounded_layers_err_as_computing_in_bfloat16_does(params):
    """Tried on the decoder, which can do both."""
    variables = {"params": params["decoder"]}
    latents = RNG.normal(size=(2, 6, 6, 16)).astype(np.float32)

    @jax.jit
    def rounded(variables, latents):
        with nn.intercept_methods(round_layers):
            return Decoder(SMALL).apply(jax.tree.map(round_values, variables), latents)

    exact = jax.jit(Decoder(SMALL).apply)(variables, latents)
    error = np.std(rounded(variables, latents) - exact)
    computed = np.std(jax.jit(Decoder(HALF).apply)(variables, latents) - exact)
    print(f"rounded layers {error:.2e}, bfloat16 {computed:.2e}")
    assert 0.5 < error / computed < 2


def test_values_are_rounded_as_a_cast_rounds_them():
    values = RNG.normal(size=1000).astype(np.float32)
    cast = values.astype(jnp.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(round_values)(values), cast)


def test_the_patch_codec_loses_nothing_in_either():
    """A level of 255 is wider than bfloat16's steps in [-1, 1]."""
    trips = codec_error(PatchCodec(), IMAGES)
    assert [(trip.encode_dtype, trip.decode_dtype) for trip in trips] == ORDER
    for trip in trips:
        np.testing.assert_array_equal(trip.psnr, MAX_PSNR)
        np.testing.assert_array_equal(trip.ssim, 1)
        exact = trip.encode_dtype == "float32"
        assert ((trip.latent_error == 0) == exact).all()
        assert (trip.latent_error < 0.01).all()


def test_images_may_differ_in_size():
    images = [IMAGES[0], IMAGES[0, :8, :10]]
    (trip, *_) = codec_error(PatchCodec(), images)
    np.testing.assert_array_equal(trip.psnr, [MAX_PSNR] * 2)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UserError, match="at least one"):
        codec_error(PatchCodec(), [])
    with pytest.raises(UserError, match="images to code must be uint8"):
        codec_error(PatchCodec(), IMAGES / 255)
    with pytest.raises(UserError, match="a PatchCodec or a WanCodec, got a str"):
        codec_error("wan_vae", IMAGES)
    with pytest.raises(UserError, match="multiples of 2"):
        codec_error(PatchCodec(), IMAGES[:, :15])
