"""The VAE's weights in two published layouts: complete, strict, in both directions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from anchoredit_jax.convert import import_weights, load_vae, open_weights, vae_names
from anchoredit_jax.convert.name_map import DIALECTS
from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.encoders import make_codec
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import CodecConfig, WanVaeSettings
from anchoredit_jax.models.wan_vae import init_params, make_vae_config
from anchoredit_jax.trees import leaves_by_name
from tests.convert.published import from_published, to_published

CONFIG = make_vae_config("tiny")


def published(dialect, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape).astype(dtype)
        for name, shape in NETWORKS["vae"].shapes(dialect, CONFIG).items()
    }


def test_names_are_unique_on_every_side():
    rows = vae_names.name_map(CONFIG).rows
    sides = [
        [row.ours for row in rows],
        *zip(*(row.theirs for row in rows), strict=True),
    ]
    for side in sides:
        assert len(set(side)) == len(side) == 194


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_a_round_trip_loses_nothing(dialect, dtype):
    tensors = published(dialect, dtype)
    whole = from_published("vae", tensors, CONFIG)
    exported = to_published("vae", whole, dialect, CONFIG)
    assert exported.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert exported[name].dtype == tensor.dtype
        np.testing.assert_array_equal(exported[name], tensor, err_msg=name)
    again = from_published("vae", exported, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, again, whole)


def test_a_still_image_takes_the_codecs_parameters_and_no_more():
    whole = from_published("vae", published("wan"), CONFIG)
    still = vae_names.still_image(whole, CONFIG)
    made = jax.eval_shape(functools.partial(init_params, CONFIG), jax.random.key(0))
    assert jax.tree.map(np.shape, still) == jax.tree.map(lambda leaf: leaf.shape, made)
    kernel = published("wan")["encoder.conv1.weight"]  # [out, in, t, rows, columns]
    np.testing.assert_array_equal(
        still["encoder"]["conv_in"]["kernel"][0, 2, 1], kernel[:, 1, 2, 0, 2].T.T
    )
    left_out = set(leaves_by_name(whole)) - set(leaves_by_name(still))
    assert len(left_out) == 8  # two down, two up, each a kernel and a bias
    assert all("/time_conv/" in path for path in left_out)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_loading_is_strict_about_names(dialect):
    tensors = published(dialect)
    gone = sorted(tensors)[7]
    tensors["decoder.extra"] = tensors.pop(gone)
    with pytest.raises(UserError) as error:
        from_published("vae", tensors, CONFIG)
    said = str(error.value)
    assert f"missing: {gone}; unexpected: decoder.extra" in said
    assert f"({dialect} names)" in said and "\n" not in said


def test_a_file_of_something_else_is_said_in_a_readable_line():
    with pytest.raises(UserError, match="not the weights of .* found blocks.0"):
        from_published("vae", {"blocks.0.ffn.0.weight": np.zeros(1)}, CONFIG)


def test_another_size_is_refused():
    with pytest.raises(UserError, match=r"is \[8, .*expected \[96, "):
        from_published("vae", published("wan"), make_vae_config("wan"))


def test_another_dialect_is_refused():
    whole = from_published("vae", published("wan"), CONFIG)
    with pytest.raises(UserError, match="dialect must be one of .*'torch'"):
        to_published("vae", whole, "torch", CONFIG)


def test_a_codec_takes_its_weights_from_a_file(tmp_path):
    save_file(published("diffusers"), tmp_path / "vae.safetensors")
    path = str(tmp_path / "vae.safetensors")
    codec = make_codec(CodecConfig("wan_vae", wan_vae=WanVaeSettings(path, "tiny")))
    whole = from_published("vae", published("diffusers"), CONFIG)
    expected = vae_names.still_image(whole, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, codec.params, expected)


def test_half_precision_files_become_float32(tmp_path):
    save_file(published("wan", jnp.bfloat16), tmp_path / "vae.safetensors")
    params = load_vae(tmp_path / "vae.safetensors", CONFIG)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    whole = from_published("vae", published("wan", jnp.bfloat16), CONFIG)
    expected = vae_names.still_image(whole, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_a_converted_vae_is_read_like_a_published_one(tmp_path):
    save_file(published("diffusers"), tmp_path / "vae.safetensors")
    import_weights(open_weights(tmp_path / "vae.safetensors"), tmp_path / "ours")
    ours, theirs = (
        load_vae(tmp_path / name, CONFIG) for name in ("ours", "vae.safetensors")
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    with pytest.raises(UserError, match="holds a VAE of dim 8, expected 96"):
        load_vae(tmp_path / "ours", make_vae_config("wan"))
