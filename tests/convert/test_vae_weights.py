"""The VAE's weights in two published layouts: complete, strict, in both directions."""

import functools

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from anchoredit_jax.convert import VaeWeights, export_vae, import_vae, load_vae
from anchoredit_jax.convert.vae_names import vae_names
from anchoredit_jax.convert.vae_weights import LAYOUTS
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import CodecConfig, make_codec
from anchoredit_jax.models.wan_vae import init_params, make_vae_config

CONFIG = make_vae_config("tiny")
NAMES = vae_names(CONFIG)


def published(layout):
    rng = np.random.default_rng(0)
    return {
        getattr(name, layout): rng.normal(size=name.shape).astype(np.float32)
        for name in NAMES
    }


def test_names_are_unique_on_every_side():
    for side in (*LAYOUTS, "ours"):
        assert len({getattr(name, side) for name in NAMES}) == len(NAMES) == 194


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_round_trip_loses_nothing(layout):
    tensors = published(layout)
    weights = import_vae(tensors, CONFIG)
    exported = export_vae(weights, CONFIG, layout)
    assert exported.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(exported[name], tensor, err_msg=name)
    again = import_vae(exported, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, again, weights)


def test_the_parameters_are_the_codecs_and_the_rest_is_what_time_needs():
    weights = import_vae(published("wan"), CONFIG)
    made = jax.eval_shape(functools.partial(init_params, CONFIG), jax.random.key(0))
    shapes = jax.tree.map(np.shape, weights.params)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, made)
    kernel = published("wan")["encoder.conv1.weight"]  # [out, in, t, rows, columns]
    np.testing.assert_array_equal(
        weights.params["encoder"]["conv_in"]["kernel"][0, 2, 1], kernel[:, 1, 2, 0, 2]
    )
    carried = weights.temporal["encoder/conv_in/kernel"]
    np.testing.assert_array_equal(carried, kernel[:, :, :2])
    over_time = {path for path in weights.temporal if "time_conv" in path}
    assert len(over_time) == 8  # two down, two up, each a kernel and a bias
    causal = {name.ours for name in NAMES if name.kind == "causal"}
    whole = {name.ours for name in NAMES if name.shape[2:] == (1, 1, 1)}
    assert set(weights.temporal) == over_time | causal - whole


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loading_is_strict_about_names(layout):
    tensors = published(layout)
    gone = getattr(NAMES[7], layout)
    tensors["decoder.extra"] = tensors.pop(gone)
    with pytest.raises(UserError) as error:
        import_vae(tensors, CONFIG)
    said = str(error.value)
    assert f"missing: {gone}; unexpected: decoder.extra" in said
    assert f"names of {layout}" in said and "\n" not in said


def test_a_file_of_something_else_is_said_in_a_readable_line():
    with pytest.raises(
        UserError, match="missing: conv1.bias, .* and 182 more"
    ) as error:
        import_vae({"blocks.0.ffn.0.weight": np.zeros(1)}, CONFIG)
    assert len(str(error.value)) < 800


def test_another_size_is_refused():
    with pytest.raises(UserError, match=r"dim 96 has shape \(96, .*given \(8, "):
        import_vae(published("wan"), make_vae_config("wan"))


def test_an_export_is_complete_or_refused():
    weights = import_vae(published("wan"), CONFIG)
    with pytest.raises(UserError, match="missing: decoder/conv_in/kernel, ") as error:
        export_vae(VaeWeights(weights.params, {}), CONFIG)
    assert "\n" not in str(error.value)
    params = {**weights.params, "head": np.zeros(3)}
    with pytest.raises(UserError, match="unexpected: head"):
        export_vae(VaeWeights(params, weights.temporal), CONFIG)
    params = {**weights.params, "encoder": {**weights.params["encoder"]}}
    params["encoder"]["norm_out"] = {"scale": np.zeros(5)}
    with pytest.raises(UserError, match=r"norm_out/scale'.*\(32,\), given \(5,\)"):
        export_vae(VaeWeights(params, weights.temporal), CONFIG)
    with pytest.raises(UserError, match="layout must be one of .*'torch'"):
        export_vae(weights, CONFIG, "torch")


def test_a_codec_takes_its_weights_from_a_file(tmp_path):
    save_file(published("diffusers"), tmp_path / "vae.safetensors")
    path = str(tmp_path / "vae.safetensors")
    codec = make_codec(CodecConfig("wan_vae", size="tiny", weights=path))
    expected = import_vae(published("diffusers"), CONFIG).params
    jax.tree.map(np.testing.assert_array_equal, codec.params, expected)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vae.safetensors", b"no tensors", "is no safetensors file"),
        ("vae.ckpt", b"", "expected one of .safetensors, .pth"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        load_vae(tmp_path / name, CONFIG)


def test_pickles_are_read_as_tensors_only(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"conv1.weight": print}, tmp_path / "vae.pth")
    with pytest.raises(
        UserError, match="vae.pth' cannot be read as a PyTorch file of tensors"
    ):
        load_vae(tmp_path / "vae.pth", CONFIG)
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="is no state dict: expected tensors by name"):
        load_vae(tmp_path / "list.pth", CONFIG)


def test_half_precision_files_become_float32(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    tensors = {
        name: torch.from_numpy(tensor).bfloat16()
        for name, tensor in published("wan").items()
    }
    save_torch(tensors, tmp_path / "vae.safetensors")
    params = load_vae(tmp_path / "vae.safetensors", CONFIG).params
    bias = params["encoder"]["conv_in"]["bias"]
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, tensors["encoder.conv1.bias"].float().numpy())
