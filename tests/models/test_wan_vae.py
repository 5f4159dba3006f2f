"""The Wan VAE on stills: normalised, deterministic, in tiles that cannot be told."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.encoders import make_codec
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import CodecConfig, WanVaeSettings
from anchoredit_jax.models.wan_vae import (
    Decoder,
    Encoder,
    WanCodec,
    WanVaeConfig,
    decode,
    encode,
    init_params,
    make_vae_config,
)
from anchoredit_jax.models.wan_vae.layers import ChannelNorm, attend
from anchoredit_jax.models.wan_vae.tiling import decoder_halo, encoder_halo
from anchoredit_jax.strict import build_dataclass

TINY = make_vae_config("tiny")
# Three levels: the same layers, cheap enough for many tiles.
SMALL = WanVaeConfig(dim=4, multipliers=(1, 2, 2), blocks=1, temporal=(False, True))
RNG = np.random.default_rng(0)
encode_raw = jax.jit(encode, static_argnums=2)
decode_raw = jax.jit(decode, static_argnums=2)


def random_params(config):
    """Values at which nothing hides: biases are not zero, scales are not one."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key == "kernel":
            return noise / np.sqrt(np.prod(leaf.shape[:-1]), dtype=np.float32)
        return 0.1 * noise + np.float32(path[-1].key == "scale")

    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="module")
def small():
    return random_params(SMALL)


def pictures(*shape):
    return RNG.uniform(-1, 1, (*shape, 3)).astype(np.float32)


def test_shapes_and_types_follow_what_is_given(small):
    codec = WanCodec(small, SMALL)
    images = pictures(2, 3, 16, 24)
    latents = codec.encode(images)
    assert (codec.stride, codec.channels) == (4, 16)
    assert isinstance(latents, np.ndarray) and latents.dtype == np.float32
    assert latents.shape == (2, 3, 4, 6, 16)
    decoded = codec.decode(latents)
    assert isinstance(decoded, np.ndarray) and decoded.shape == images.shape
    on_device = codec.encode(jnp.asarray(images))
    assert isinstance(on_device, jax.Array)
    np.testing.assert_array_equal(on_device, latents)
    traced = jax.jit(lambda x: codec.decode(codec.encode(x)))(images)
    np.testing.assert_allclose(traced, decoded, atol=1e-5)


def test_every_image_is_coded_alone(small):
    """Whatever the leading axes are: a still has no past, and no neighbours."""
    codec = WanCodec(small, SMALL, tile=32)  # 4 images of 16 x 16 at a time
    images = pictures(3, 2, 16, 16)
    latents = codec.encode(images)
    for i, j in np.ndindex(3, 2):
        alone = codec.encode(images[i, j])
        np.testing.assert_allclose(latents[i, j], alone, atol=1e-5)
    np.testing.assert_allclose(
        codec.decode(latents)[2, 1], codec.decode(latents[2, 1]), atol=1e-5
    )


def test_latents_are_normalised_by_channel_and_decoding_undoes_it(small):
    mean, std = tuple(np.arange(16) / 4 - 2), tuple(np.arange(16) / 8 + 0.5)
    images = pictures(1, 8, 8)
    plain = WanVaeConfig(**{**vars(SMALL), "mean": (0.0,) * 16, "std": (1.0,) * 16})
    other = WanVaeConfig(**{**vars(SMALL), "mean": mean, "std": std})
    raw = np.asarray(encode_raw(small, images, plain))
    got = np.asarray(encode_raw(small, images, other))
    np.testing.assert_allclose(got, (raw - mean) / std, atol=1e-5)
    np.testing.assert_allclose(
        decode_raw(small, got, other), decode_raw(small, raw, plain), atol=1e-4
    )
    default = np.asarray(encode_raw(small, images, SMALL))
    np.testing.assert_allclose(
        default, (raw - SMALL.mean) / np.float32(SMALL.std), atol=1e-5
    )


def test_encoding_is_the_mean_of_the_posterior(small):
    images = pictures(1, 8, 8)
    moments = jax.jit(Encoder(SMALL).apply)({"params": small["encoder"]}, images)
    assert moments.shape == (1, 2, 2, 32)
    raw = np.asarray(encode_raw(small, images, SMALL)) * SMALL.std + SMALL.mean
    np.testing.assert_allclose(raw, moments[..., :16], atol=1e-5)


def test_encoding_is_float32_when_decoding_is_not(small):
    half = WanVaeConfig(**{**vars(SMALL), "dtype": "bfloat16"})
    images = pictures(1, 16, 16)
    exact, rounded = (WanCodec(small, config) for config in (SMALL, half))
    latents = exact.encode(images)
    np.testing.assert_array_equal(rounded.encode(images), latents)
    error = np.abs(rounded.decode(latents) - exact.decode(latents)).max()
    assert 1e-4 < error < 0.2
    assert rounded.decode(latents).dtype == np.float32
    moments = jax.eval_shape(
        Encoder(half).apply, {"params": small["encoder"]}, images.astype("f2")
    )
    assert moments.dtype == np.float32


def test_decoded_pixels_are_cut_to_the_range(small):
    latents = 5 * RNG.normal(size=(1, 2, 2, 16)).astype(np.float32)
    raw = np.asarray(decode_raw(small, latents, SMALL))
    assert np.abs(raw).max() > 1
    got = WanCodec(small, SMALL).decode(latents)
    np.testing.assert_allclose(got, raw.clip(-1, 1), atol=1e-5)


def test_a_zero_has_no_direction_and_a_gradient():
    norm, zeros = ChannelNorm(), jnp.zeros((1, 1, 1, 4))
    variables = norm.init(jax.random.key(0), zeros)
    unit = norm.apply(variables, zeros + jnp.arange(4.0)[None, None, None])
    np.testing.assert_allclose(unit[0, 0, 0], 2 * np.arange(4) / 14**0.5, rtol=1e-6)
    grad = jax.grad(lambda x: norm.apply(variables, x).sum())(zeros)
    assert np.isfinite(grad).all()


def test_attention_in_blocks_is_attention():
    query, key, value = RNG.normal(size=(3, 2, 11, 6)).astype(np.float32)
    logits = np.einsum("bqd,bkd->bqk", query, key) / 6**0.5
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.einsum("bqk,bkd->bqd", weights, value)
    for at_a_time in (5, 4 * 11, 11 * 11):  # row by row, blocks and a rest, whole
        got = attend(*map(jnp.asarray, (query, key, value)), at_a_time)
        np.testing.assert_allclose(got, expected, atol=1e-5)


# --- tiles


def test_the_halo_of_the_published_geometry():
    wan = make_vae_config("wan")
    assert (encoder_halo(wan), decoder_halo(wan)) == (5, 7)
    assert (encoder_halo(SMALL), decoder_halo(SMALL)) == (3, 4)


@pytest.mark.parametrize("config", [SMALL, TINY], ids=["small", "tiny"])
def test_the_halo_is_the_receptive_field(config):
    """A NaN reaches exactly the outputs that depend on its place."""
    params, stride = random_params(config), config.stride

    halo = decoder_halo(config)
    features = np.zeros((1, 1, 2 * halo + 3, config.widths[-1]), np.float32)
    features[:, :, halo + 1] = np.nan
    to_pixels = jax.jit(functools.partial(Decoder(config).apply, method="to_pixels"))
    pixels = to_pixels({"params": params["decoder"]}, features)
    reached = np.flatnonzero(np.isnan(pixels).any((0, 1, 3)))
    left = (halo + 1) * stride - reached[0]
    right = reached[-1] - (halo + 2) * stride + 1
    assert (halo - 1) * stride < max(left, right) <= halo * stride

    halo = encoder_halo(config)
    to_features = jax.jit(
        functools.partial(Encoder(config).apply, method="to_features")
    )

    def reaches_the_middle(pixel):
        images = np.zeros((1, stride, (2 * halo + 3) * stride, 3), np.float32)
        images[:, :, pixel] = np.nan
        out = to_features({"params": params["encoder"]}, images)
        return bool(np.isnan(out[0, 0, halo + 1]).any())

    first, last = stride, (2 * halo + 2) * stride - 1  # of the middle one's window
    assert not reaches_the_middle(first - 1) and not reaches_the_middle(last + 1)
    assert reaches_the_middle(last + 1 - stride)  # so one less would not do


@pytest.mark.parametrize("sides", [(48, 52), (20, 72)])
def test_tiles_cannot_be_told_from_the_whole(small, sides):
    whole, tiled = (WanCodec(small, SMALL, tile) for tile in (0, 8))
    images = pictures(2, *sides)
    latents = whole.encode(images)
    np.testing.assert_allclose(tiled.encode(images), latents, atol=2e-5)
    np.testing.assert_allclose(tiled.decode(latents), whole.decode(latents), atol=2e-5)


def test_tiles_of_the_published_geometry_cannot_be_told():
    params = random_params(TINY)
    latents = RNG.normal(size=(1, 20, 17, 16)).astype(np.float32)
    whole, tiled = (WanCodec(params, TINY, tile) for tile in (0, 24))
    images = whole.decode(latents)
    np.testing.assert_allclose(tiled.decode(latents), images, atol=2e-5)
    np.testing.assert_allclose(tiled.encode(images), whole.encode(images), atol=2e-5)


@pytest.mark.parametrize("function", [encode, decode])
def test_memory_at_full_size_is_that_of_one_tile(function):
    """The compiler's own figures for 1024 x 1024 pixels; nothing is run."""
    config = make_vae_config("wan")
    params = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))

    def lowered(side, tile):
        shape = (side, side, 3) if function is encode else (side // 8, side // 8, 16)
        program = jax.jit(functools.partial(function, config=config, tile=tile))
        return program.lower(params, jax.ShapeDtypeStruct((1, *shape), jnp.float32))

    tiled, whole = (
        lowered(1024, tile).compile().memory_analysis().temp_size_in_bytes / 2**20
        for tile in (256, 0)
    )
    print(f"{function.__name__}: {tiled:.0f} MiB in tiles, {whole:.0f} MiB as a whole")
    assert tiled < 300 and tiled < 0.2 * whole
    # One program for all tiles: it does not grow with the image.
    convolutions = [
        lowered(side, 256).as_text().count("stablehlo.convolution")
        for side in (1024, 2048)
    ]
    assert convolutions[0] == convolutions[1] > 20


# --- what is refused


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((1, 17, 24, 3), np.float32), "17 x 24.*multiples of 4.*16 x 24"),
        (np.zeros((1, 16, 16, 4), np.float32), r"\[..., H, W, 3\].*\(1, 16, 16, 4\)"),
        (np.zeros((1, 16, 16, 3), np.uint8), "float images.*from_uint8.*uint8"),
    ],
)
def test_images_that_cannot_be_encoded(small, images, said):
    with pytest.raises(UserError, match=said):
        WanCodec(small, SMALL).encode(images)


def test_latents_of_another_width_are_refused(small):
    with pytest.raises(UserError, match=r"\[..., h, w, 16\], got \(1, 2, 2, 12\)"):
        WanCodec(small, SMALL).decode(np.zeros((1, 2, 2, 12), np.float32))


@pytest.mark.parametrize("tile", [-4, 6])
def test_a_tile_is_a_whole_number_of_latents(small, tile):
    with pytest.raises(UserError, match=f"codec.tile .*multiple of 4 .*got {tile}"):
        WanCodec(small, SMALL, tile)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(temporal=(True,)), "vae.temporal needs .* 3; got 1"),
        (dict(mean=(0.0,)), "vae.mean needs .* 16; got 1"),
        (dict(std=(0.0,) * 16), "vae.std must be positive"),
        (dict(dtype="float8"), "vae.dtype .*bfloat16.*'float8'"),
    ],
)
def test_a_geometry_that_does_not_fit_itself(changes, said):
    with pytest.raises(UserError, match=said):
        make_vae_config("tiny", **changes)


def test_an_unknown_size_is_refused():
    with pytest.raises(UserError, match="unknown VAE size 'huge'; known: wan, tiny"):
        make_vae_config("huge")


# --- by name


def test_the_codec_is_made_by_name():
    codec = make_codec(
        CodecConfig("wan_vae", wan_vae=WanVaeSettings(size="tiny", tile=64))
    )
    assert (codec.stride, codec.channels, codec.tile) == (8, 16, 64)
    again = make_codec(CodecConfig("wan_vae", wan_vae=WanVaeSettings(size="tiny")))
    jax.tree.map(np.testing.assert_array_equal, codec.params, again.params)
    assert codec.encode(pictures(1, 8, 16)).shape == (1, 1, 2, 16)
    assert make_codec(CodecConfig()).stride == CodecConfig("patch").stride == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict(kind="wan_vae", patch=dict(stride=4)), "codec.patch' is read with"),
        (dict(wan_vae=dict(weights="vae.pth")), "codec.wan_vae' is read with"),
        (dict(kind="patch", wan_vae={}), "'codec.wan_vae' .* the kind is 'patch'"),
        (dict(kind="wan_vae", wan_vae=dict(stride=8)), "wan_vae.stride' .nothing"),
    ],
)
def test_fields_of_the_other_kind_are_refused(values, said):
    with pytest.raises(UserError, match=said):
        build_dataclass(CodecConfig, values, "codec")


def test_the_full_size_needs_weights(tmp_path):
    with pytest.raises(UserError, match="needs codec.wan_vae.weights.*Wan2.1_VAE.pth"):
        make_codec(CodecConfig("wan_vae"))
    missing = str(tmp_path / "missing.pth")
    with pytest.raises(UserError, match="missing.pth' does not exist"):
        make_codec(CodecConfig("wan_vae", wan_vae=WanVaeSettings(missing)))
