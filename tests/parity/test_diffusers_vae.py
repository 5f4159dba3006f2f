"""diffusers' `AutoencoderKLWan`, random and tiny: our converter, then our numbers."""

import jax
import numpy as np
import pytest

from anchoredit_jax.convert import load_vae, vae_names
from anchoredit_jax.models.wan_vae import WanCodec, make_vae_config
from tests.convert.published import from_published, to_published

TOLERANCE = 5e-5
CONFIG = make_vae_config("tiny")


@pytest.fixture(scope="module")
def theirs():
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = diffusers.AutoencoderKLWan(base_dim=CONFIG.dim).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("gamma", "bias")):  # ones and zeros hide mistakes
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def tensors(theirs):
    return {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}


def channels_first(x):
    """[B, H, W, C] -> a tensor [B, C, 1, H, W]."""
    import torch

    return torch.from_numpy(np.moveaxis(x, -1, 1)[:, :, None].copy())


def channels_last(x):
    return np.moveaxis(x.numpy()[:, :, 0], 1, -1)


def test_encode_and_decode(theirs, tensors):
    import torch

    params = vae_names.still_image(from_published("vae", tensors, CONFIG), CONFIG)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 32, 48, 3)).astype(np.float32)
    mean, std = np.float32(CONFIG.mean), np.float32(CONFIG.std)
    assert theirs.config.latents_mean == list(CONFIG.mean)
    assert theirs.config.latents_std == list(CONFIG.std)
    latents = rng.normal(size=(2, 4, 6, 16)).astype(np.float32)
    with torch.no_grad():
        mode = theirs.encode(channels_first(images)).latent_dist.mode()
        pixels = theirs.decode(channels_first(latents * std + mean)).sample
    codec = WanCodec(params, CONFIG)
    encoded = np.abs(codec.encode(images) * std + mean - channels_last(mode)).max()
    # Theirs is clipped; enough of it is not, so that the comparison means something.
    assert np.mean(np.abs(pixels.numpy()) < 1) > 0.5
    decoded = np.abs(codec.decode(latents) - channels_last(pixels)).max()
    print(f"encode: largest deviation {encoded:.1e}; decode: {decoded:.1e}")
    assert max(encoded, decoded) < TOLERANCE


def test_their_names_are_exported_bit_for_bit_and_load_strictly(theirs, tensors):
    import torch

    weights = from_published("vae", tensors, CONFIG)
    exported = to_published("vae", weights, "diffusers", CONFIG)
    assert exported.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(exported[name], tensor, err_msg=name)
    theirs.load_state_dict(
        {name: torch.from_numpy(tensor) for name, tensor in exported.items()}
    )


def test_the_two_published_layouts_are_one_network(tensors):
    """diffusers -> ours -> original Wan -> ours -> diffusers loses nothing."""
    original = to_published(
        "vae", from_published("vae", tensors, CONFIG), "wan", CONFIG
    )
    again = to_published(
        "vae", from_published("vae", original, CONFIG), "diffusers", CONFIG
    )
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(again[name], tensor, err_msg=name)
    # diffusers' own table from one to the other, where it knows it.
    from diffusers.loaders import single_file_utils

    theirs = single_file_utils.convert_wan_vae_to_diffusers(
        {name: value.copy() for name, value in original.items()}
    )
    assert theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(theirs[name], tensor, err_msg=name)


def test_published_files_are_read(tmp_path, tensors):
    import torch
    from safetensors.numpy import save_file

    expected = from_published("vae", tensors, CONFIG)
    save_file(tensors, tmp_path / "vae.safetensors")
    original = to_published("vae", expected, "wan", CONFIG)
    torch.save(
        {name: torch.from_numpy(tensor) for name, tensor in original.items()},
        tmp_path / "vae.pth",
    )
    for name in ("vae.safetensors", "vae.pth"):
        found = load_vae(tmp_path / name, CONFIG)
        still = vae_names.still_image(expected, CONFIG)
        jax.tree.map(np.testing.assert_array_equal, found, still)
