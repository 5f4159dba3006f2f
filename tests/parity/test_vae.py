"""The recorded Wan VAE: latents, pixels, and the output of every layer.

Ours is the single-image path. `video5` and `video9` are videos of 5 and 9 frames, coded
four at a time with what came before: coding them is refused by design, a session's
frames are stills. What a video shares with stills, its first frame, is compared.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from anchoredit_jax.convert import vae_names
from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.models.wan_vae import (
    WAN_MEAN,
    WAN_STD,
    Decoder,
    Encoder,
    WanCodec,
    decode,
    make_vae_config,
)
from tests.convert.published import from_published, to_published

from .conftest import GOLDEN

TOLERANCE = 5e-5
CONFIG = make_vae_config("tiny")

# Their layers in order, and the modules of ours that give the same.
ENCODER = (
    "conv_in",
    "down_0/block_0", "down_0/block_1", "downsample_0",
    "down_1/block_0", "down_1/block_1", "downsample_1",
    "down_2/block_0", "down_2/block_1", "downsample_2",
    "down_3/block_0", "down_3/block_1",
)  # fmt: skip
DECODER = (
    "up_0/block_0", "up_0/block_1", "up_0/block_2", "upsample_0",
    "up_1/block_0", "up_1/block_1", "up_1/block_2", "upsample_1",
    "up_2/block_0", "up_2/block_1", "up_2/block_2", "upsample_2",
    "up_3/block_0", "up_3/block_1", "up_3/block_2",
)  # fmt: skip
MIDDLE = ("middle/block_0", "middle/attention", "middle/block_1")
LAYERS = {
    "enc_conv1": "conv_in",
    **{f"enc_down{i}": path for i, path in enumerate(ENCODER[1:])},
    **{f"enc_mid{i}": path for i, path in enumerate(MIDDLE)},
    "enc_out": "conv_out",
    "dec_conv2": "post_quant_conv",
    "dec_conv1": "conv_in",
    **{f"dec_mid{i}": path for i, path in enumerate(MIDDLE)},
    **{f"dec_up{i}": path for i, path in enumerate(DECODER)},
}
REPLAYED = {
    "mean", "std", "image", "image_latent", "image_recon_raw",
    "dec_latent", "dec_raw", "dec_pixel",
    "video5", "video5_latent", "video5_recon_raw",
    "video9", "video9_latent", "video9_recon_raw",
}  # fmt: skip


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("vae")[0]


@pytest.fixture(scope="module")
def codec(arrays):
    tensors = {k.removeprefix("w/"): v for k, v in arrays.items() if k.startswith("w/")}
    return WanCodec(
        vae_names.still_image(from_published("vae", tensors, CONFIG), CONFIG), CONFIG
    )


def images(pixels):
    """[B, 3, T, H, W] -> [B, T, H, W, 3]."""
    return np.moveaxis(pixels, 1, -1)


def latents(recorded):
    """[B, T, C, h, w] -> [B, T, h, w, C]."""
    return np.moveaxis(recorded, 2, -1)


def check(name, got, recorded):
    assert got.shape == recorded.shape
    deviation = np.abs(got - recorded).max()
    print(f"{name}: largest deviation {deviation:.1e}")
    assert deviation < TOLERANCE, name


def test_no_array_is_left_out(golden, arrays):
    _, meta = golden("vae")
    sizes = ("dim", "z_dim", "dim_mult", "num_res_blocks", "temperal_downsample")
    assert [meta[key] for key in sizes] == [
        CONFIG.dim,
        CONFIG.latent_channels,
        list(CONFIG.multipliers),
        CONFIG.blocks,
        list(CONFIG.temporal),
    ]
    recorded = {name for name in arrays if not name.startswith("w/")}
    assert recorded == REPLAYED | {f"inter/{name}" for name in LAYERS}


def test_images(arrays, codec):
    encoded = codec.encode(images(arrays["image"]))
    check("image_latent", encoded, latents(arrays["image_latent"]))
    raw = jax.jit(decode, static_argnums=2)
    recon = raw(codec.params, encoded[:, 0], CONFIG)
    check("image_recon_raw", recon, images(arrays["image_recon_raw"])[:, 0])
    given = latents(arrays["dec_latent"])
    check("dec_raw", raw(codec.params, given[:, 0], CONFIG),
          images(arrays["dec_raw"])[:, 0])  # fmt: skip
    assert np.abs(arrays["dec_raw"]).max() > 1  # so that clipping is seen
    check("dec_pixel", codec.decode(given), latents(arrays["dec_pixel"]))


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_every_layer(arrays, codec, side):
    if side == "encoder":
        module, given = Encoder(CONFIG), images(arrays["image"])[0]
    else:
        raw = latents(arrays["dec_latent"])[0] * np.float32(WAN_STD)
        module, given = Decoder(CONFIG), raw + np.float32(WAN_MEAN)

    @jax.jit
    def outputs(params, given):
        variables = {"params": params}
        return module.apply(variables, given, capture_intermediates=True)[1]

    tree = outputs(codec.params[side], given)["intermediates"]
    for name, path in LAYERS.items():
        if name.startswith(side[:3]):
            node = tree
            for key in path.split("/"):
                node = node[key]
            check(name, node["__call__"][0], images(arrays[f"inter/{name}"])[0])


@pytest.mark.parametrize("name", ["video5", "video9"])
def test_the_first_frame_of_a_video_is_a_still(arrays, codec, name):
    first = codec.encode(images(arrays[name])[:, :1])
    check(f"{name} frame 0, latent", first, latents(arrays[f"{name}_latent"])[:, :1])
    pixels = codec.decode(latents(arrays[f"{name}_latent"])[:, :1])
    recorded = images(arrays[f"{name}_recon_raw"])[:, :1].clip(-1, 1)
    check(f"{name} frame 0, pixels", pixels, recorded)
    # And later latents are no stills: they hold four frames.
    stills = codec.encode(images(arrays[name])[:, ::4])
    later = latents(arrays[f"{name}_latent"])[:, 1:]
    assert np.abs(stills[:, 1:] - later).max() > 0.1


def test_a_still_reads_the_last_of_three_frames_alone(arrays):
    """Which is why of the others no weights were kept: golden/README.md."""
    params = []
    for unread in (0.0, 1.0):
        tensors = {}
        for name, value in arrays.items():
            if name.startswith("w/"):
                tensors[name.removeprefix("w/")] = value = value.copy()
                if value.ndim == 5 and value.shape[2] == 3:
                    value[:, :, :2] = unread
        network = from_published("vae", tensors, CONFIG)
        params.append(vae_names.still_image(network, CONFIG))
    jax.tree.map(np.testing.assert_array_equal, *params)


def test_the_published_statistics_are_the_recorded_ones(arrays):
    np.testing.assert_array_equal(np.float32(WAN_MEAN), arrays["mean"])
    np.testing.assert_array_equal(np.float32(WAN_STD), arrays["std"])


def test_the_recorded_weights_are_exported_bit_for_bit(arrays):
    tensors = {k.removeprefix("w/"): v for k, v in arrays.items() if k.startswith("w/")}
    exported = to_published(
        "vae", from_published("vae", tensors, CONFIG), "wan", CONFIG
    )
    assert exported.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(exported[name], tensor, err_msg=name)


def test_every_published_name_and_shape_is_mapped():
    published = json.loads(Path(GOLDEN, "vae_state_dict_keys.json").read_text())
    shapes = NETWORKS["vae"].shapes("wan", make_vae_config("wan"))
    mapped = {name: list(shape) for name, shape in shapes.items()}
    assert mapped == published
