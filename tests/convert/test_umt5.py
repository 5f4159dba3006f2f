"""Published UMT5 weights: names both ways, files, folders, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from anchoredit_jax.convert import import_weights, open_weights
from anchoredit_jax.convert.name_map import DIALECTS
from anchoredit_jax.convert.networks import NETWORKS, recognise
from anchoredit_jax.convert.tensor_files import open_tensors
from anchoredit_jax.convert.umt5_folder import load_umt5
from anchoredit_jax.encoders import make_text_encoder
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.text import (
    TextConfig,
    Umt5Settings,
)
from anchoredit_jax.models.umt5 import make_umt5_config
from anchoredit_jax.strict import build_dataclass
from tests.convert.published import from_published, to_published

CONFIG = make_umt5_config("umt5_tiny")
WAN, TRANSFORMERS = DIALECTS


def random_tensors(dialect, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape).astype(dtype)
        for name, shape in NETWORKS["umt5"].shapes(dialect, CONFIG).items()
    }


def write_tokenizer(folder):
    tokenizers = pytest.importorskip("tokenizers")
    folder.mkdir(parents=True, exist_ok=True)
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "make": 3, "it": 4, "blue": 5}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(words, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_there_and_back_is_the_same_bit_for_bit(dialect):
    for dtype in (np.float32, jnp.bfloat16):
        tensors = random_tensors(dialect, dtype)
        params = from_published("umt5", tensors, CONFIG)
        back = to_published("umt5", params, dialect, CONFIG)
        assert back.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert back[name].dtype == tensor.dtype
            np.testing.assert_array_equal(back[name], tensor)


def test_the_two_dialects_name_the_same_tensors():
    params = from_published("umt5", random_tensors(WAN), CONFIG)
    theirs = to_published("umt5", params, TRANSFORMERS, CONFIG)
    assert recognise(theirs)[1] == TRANSFORMERS
    again = from_published("umt5", theirs, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    # The two linear maps of the MLP have one shape: only the names keep them apart.
    gate = theirs["encoder.block.1.layer.1.DenseReluDense.wi_0.weight"]
    np.testing.assert_array_equal(params["blocks"]["ffn"]["gate"]["kernel"][1], gate.T)


@pytest.mark.parametrize("name", ["shared.weight", "encoder.embed_tokens.weight"])
def test_the_tied_embedding_goes_by_either_name(name):
    tensors = random_tensors(TRANSFORMERS)
    table = tensors["shared.weight"]
    params = from_published(
        "umt5",
        {**{k: v for k, v in tensors.items() if k != "shared.weight"}, name: table},
        CONFIG,
    )
    np.testing.assert_array_equal(params["token_embedding"], table)
    both = {**tensors, "encoder.embed_tokens.weight": table.copy()}
    params = from_published("umt5", both, CONFIG)
    np.testing.assert_array_equal(params["token_embedding"], table)


def test_an_embedding_lost_by_untying_is_refused():
    tensors = random_tensors(TRANSFORMERS)
    zeros = np.zeros_like(tensors["shared.weight"])
    with pytest.raises(UserError, match="differ, but are one tensor"):
        from_published(
            "umt5", {**tensors, "encoder.embed_tokens.weight": zeros}, CONFIG
        )
    with pytest.raises(UserError, match="'shared.weight' is all zeros"):
        from_published("umt5", {**tensors, "shared.weight": zeros}, CONFIG)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_missing_and_unexpected_names_are_told_in_one_line(dialect):
    tensors = random_tensors(dialect)
    lost = next(name for name in tensors if "1" in name and "norm" not in name)
    del tensors[lost]
    tensors["decoder.extra"] = np.zeros(3, np.float32)
    with pytest.raises(UserError) as raised:
        from_published("umt5", tensors, CONFIG)
    said = str(raised.value)
    assert f"missing: {lost}; unexpected: decoder.extra" in said and "\n" not in said


def test_a_long_list_of_names_is_cut():
    tensors = random_tensors(WAN)
    few = make_umt5_config("umt5_tiny", num_layers=1)
    with pytest.raises(UserError, match="missing: none; unexpected: .* and 6 more$"):
        from_published("umt5", tensors, few)


def test_another_size_or_model_is_refused():
    tensors = random_tensors(WAN)
    narrow = make_umt5_config("umt5_tiny", ffn_dim=40)
    said = re.escape("'blocks.0.ffn.gate.0.weight' is [48, 32], expected [40, 32]")
    with pytest.raises(UserError, match=said):
        from_published("umt5", tensors, narrow)
    with pytest.raises(
        UserError, match="not the weights of .* a UMT5 encoder; found head.bias"
    ):
        from_published("umt5", {"head.bias": np.zeros(3)}, CONFIG)
    with pytest.raises(UserError, match="dialect must be one of .*'flax'"):
        to_published("umt5", from_published("umt5", tensors, CONFIG), "flax", CONFIG)


LAYOUTS = {
    "wan": ("models_t5_umt5-xxl-enc-bf16.safetensors", "google/umt5-xxl", WAN),
    "diffusers": ("text_encoder/model.safetensors", "tokenizer", TRANSFORMERS),
    "alone": ("model.safetensors", ".", TRANSFORMERS),
}


def write_folder(folder, layout, tensors):
    file, tokenizer, _ = LAYOUTS[layout]
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / file)
    write_tokenizer(folder / tokenizer)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_folder_becomes_a_text_encoder(tmp_path, layout):
    tensors = random_tensors(LAYOUTS[layout][2])
    write_folder(tmp_path, layout, tensors)
    # Wan's folder holds the transformer as well; it must not be taken for UMT5.
    save_file({"head": np.zeros(2)}, tmp_path / "diffusion_pytorch_model.safetensors")
    encoder = make_text_encoder(
        TextConfig(
            "umt5", 10, 32, umt5=Umt5Settings(str(tmp_path), "umt5_tiny", batch=2)
        )
    )
    out = encoder.encode(["make it blue", ""])
    assert out.shape == (2, 10, 32) and out.dtype == np.float32
    assert out[0, :4].any(-1).all() and not out[0, 4:].any()
    expected = from_published("umt5", tensors, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, encoder.params, expected)


def test_weights_keep_the_dtype_of_their_file(tmp_path):
    write_folder(tmp_path, "wan", random_tensors(WAN, jnp.bfloat16))
    encoder = load_umt5(tmp_path, CONFIG, length=6)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(encoder.params))
    assert encoder.encode(["make it blue"]).dtype == np.float32


def test_several_files_are_one_model(tmp_path):
    tensors = random_tensors(TRANSFORMERS)
    names = sorted(tensors)
    parts = {"model-00001-of-00002": names[:9], "model-00002-of-00002": names[9:]}
    for file, part in parts.items():
        save_file({n: tensors[n] for n in part}, tmp_path / f"{file}.safetensors")
    read = open_tensors(sorted(tmp_path.glob("*.safetensors")))
    assert read.keys() == tensors.keys()
    save_file({names[0]: tensors[names[0]]}, tmp_path / "model.fp16.safetensors")
    with pytest.raises(UserError, match=f"{names[0]}' is in .* one variant"):
        open_tensors(sorted(tmp_path.glob("*.safetensors")))


def test_a_pytorch_file_is_read_as_tensors_only(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = random_tensors(WAN)
    path = tmp_path / "models_t5_umt5-xxl-enc-bf16.pth"
    torch.save({k: torch.tensor(v).bfloat16() for k, v in tensors.items()}, path)
    write_tokenizer(tmp_path / "google" / "umt5-xxl")
    encoder = load_umt5(tmp_path, CONFIG, length=6)
    table = encoder.params["token_embedding"]
    assert table.dtype == jnp.bfloat16
    wanted = tensors["token_embedding.weight"].astype(jnp.bfloat16)
    np.testing.assert_array_equal(table, wanted)
    torch.save({"token_embedding.weight": tmp_path}, path)  # an object, not a tensor
    with pytest.raises(UserError, match="beside tensors, which is refused"):
        open_tensors([path])
    torch.save({"step": 3}, path)
    with pytest.raises(UserError, match="no state dict"):
        open_tensors([path])


def test_wrong_folders_and_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="folder .*nowhere' does not exist"):
        load_umt5(tmp_path / "nowhere", CONFIG)
    with pytest.raises(UserError, match="no tokenizer in .* looked for tokenizer.json"):
        load_umt5(tmp_path, CONFIG)
    write_tokenizer(tmp_path)
    with pytest.raises(UserError, match="no weights in .* looked for models_t5"):
        load_umt5(tmp_path, CONFIG)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="is no safetensors file"):
        load_umt5(tmp_path, CONFIG)
    with pytest.raises(UserError, match="'.*model.gguf' does not exist"):
        open_tensors([tmp_path / "model.gguf"])
    (tmp_path / "model.gguf").touch()
    with pytest.raises(
        UserError, match="expected one of .safetensors, .pth, .pt, .bin"
    ):
        open_tensors([tmp_path / "model.gguf"])


FOLDER = dict(folder="x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(kind="umt5", dim=4096), "'text.umt5.folder' is missing"),
        (dict(umt5=dict(folder="x")), "'text.umt5' is read with .*the kind is 'ngram'"),
        (dict(kind="umt5", dim=64, umt5=FOLDER), "text.dim must be 4096.* got 64"),
        (
            dict(kind="umt5", umt5=FOLDER | dict(size="xxl")),
            "must be one of umt5_tiny, umt5_",
        ),
        (dict(kind="umt5", umt5=FOLDER | dict(batch=0)), "umt5.batch must be"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        build_dataclass(TextConfig, options, "text")


def test_a_converted_encoder_is_read_like_a_published_one(tmp_path):
    write_folder(tmp_path / "in", "wan", random_tensors(WAN, jnp.bfloat16))
    source = open_weights(tmp_path / "in", network="umt5")
    import_weights(source, tmp_path / "out")
    write_tokenizer(tmp_path / "out")
    ours, theirs = (load_umt5(tmp_path / name, CONFIG, 6) for name in ("out", "in"))
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)
    with pytest.raises(UserError, match="a UMT5 encoder of another size.*ffn_dim=48"):
        load_umt5(tmp_path / "out", make_umt5_config("umt5_tiny", ffn_dim=40))
