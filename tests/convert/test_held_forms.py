"""Weights as people hold them: read, or said in one line what they are."""

import json
import logging

import numpy as np
import pytest
from safetensors.numpy import save_file

from anchoredit_jax.convert import open_weights
from anchoredit_jax.errors import UserError

from .published import random_tensors, write_pickle, write_published
from .test_bad_files import text_file

torch = pytest.importorskip("torch")
NAME = "blocks.0.ffn.0.weight"


def tensors(prefix="", network="transformer", dialect="wan", **more):
    made = random_tensors(network, dialect)
    return {prefix + name: tensor for name, tensor in made.items()} | more


def assert_read(source, seed=0):
    expected = random_tensors("transformer", "wan", seed=seed)
    for name, tensor in source.published("wan"):
        np.testing.assert_array_equal(tensor, expected[name])


@pytest.mark.parametrize(
    "prefix", ["model.diffusion_model.", "diffusion_model.", "model.", "net.dit."]
)
def test_a_common_prefix_is_read_past(tmp_path, prefix):
    save_file(tensors(prefix), tmp_path / "a.safetensors")
    assert_read(open_weights(tmp_path / "a.safetensors"))
    assert_read(open_weights(write_pickle(tmp_path / "a.pth", tensors(prefix))))


def test_a_file_of_several_networks_gives_each(tmp_path, caplog):
    vae = tensors("first_stage_model.", "vae")
    text = tensors("text_encoders.umt5xxl.transformer.", "umt5", "diffusers")
    path = tmp_path / "all.safetensors"
    save_file(tensors("model.diffusion_model.") | vae | text, path)
    with caplog.at_level(logging.WARNING):
        assert_read(open_weights(path))
    assert "not read: " in caplog.text and "--network" in caplog.text
    for network in ("vae", "umt5"):
        assert open_weights(path, network=network).network.name == network


@pytest.mark.parametrize("key", ["state_dict", "module", "model", "params"])
def test_a_wrapped_dict_is_read(tmp_path, key):
    content = {key: tensors(), "epoch": 3, "global_step": 70, "optimizer": {"lr": 1.0}}
    assert_read(open_weights(write_pickle(tmp_path / "a.pt", content)))
    nested = {"model": {"state_dict": tensors("module.")}, "step": 9}
    assert_read(open_weights(write_pickle(tmp_path / "b.ckpt", nested)))


def test_averaged_and_live_of_a_wrapped_dict(tmp_path):
    content = {
        "model": random_tensors("transformer", seed=1),
        "ema": tensors(),
        "step": 5,
    }
    path = write_pickle(tmp_path / "a.pt", content)
    source = open_weights(path)
    assert (source.weights, source.step) == ("ema", 5)
    assert_read(source)
    assert_read(open_weights(path, weights="live"), seed=1)
    only = write_pickle(tmp_path / "b.pt", {"ema": tensors()})
    with pytest.raises(
        UserError, match=r"averaged weights only \(ema\): use --weights"
    ):
        open_weights(only, weights="live")
    both = write_pickle(tmp_path / "c.pt", {"model": tensors(), "module": tensors()})
    with pytest.raises(UserError, match="several dicts of weights, model, module"):
        open_weights(both)


def test_the_old_serialisation_of_pytorch_is_read(tmp_path):
    content = {name: torch.from_numpy(x) for name, x in tensors().items()}
    path = tmp_path / "old.pth"
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert_read(open_weights(path))


def in_shards(folder, stem, ending, index, save):
    names = sorted(tensors())
    where = {}
    folder.mkdir()
    for number, part in enumerate((names[:10], names[10:]), 1):
        file = f"{stem}-{number:05d}-of-00002{ending}"
        save(folder / file, {name: tensors()[name] for name in part})
        where |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {}, "weight_map": where})
    (folder / index).write_text(text)
    return folder


def save_safe(path, content):
    save_file(content, path)


@pytest.mark.parametrize(
    ("stem", "ending", "index", "save"),
    [
        (
            "diffusion_pytorch_model.fp16", ".safetensors",
            "diffusion_pytorch_model.safetensors.index.fp16.json", save_safe,
        ),
        (
            "diffusion_pytorch_model", ".bin",
            "diffusion_pytorch_model.bin.index.json", write_pickle,
        ),
    ],
)  # fmt: skip
def test_shards_of_a_variant_and_of_pickles_are_read(
    tmp_path, stem, ending, index, save
):
    folder = in_shards(tmp_path / "in", stem, ending, index, save)
    assert_read(open_weights(folder))
    assert_read(open_weights(folder / index))
    (folder / index).unlink()
    with pytest.raises(UserError, match="shards without their index"):
        open_weights(folder)


def test_a_variant_alone_is_read_and_one_of_two_formats(tmp_path):
    file = tmp_path / "diffusion_pytorch_model.fp16.safetensors"
    save_file(tensors(), file)
    assert_read(open_weights(tmp_path))
    write_pickle(tmp_path / "diffusion_pytorch_model.fp16.bin", {"any": np.zeros(1)})
    assert_read(open_weights(tmp_path))
    whole = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(tensors(), whole)
    with pytest.raises(UserError, match="several weights, name one"):
        open_weights(tmp_path)


def test_a_text_encoder_in_a_pickle_is_found(tmp_path):
    write_pickle(tmp_path / "pytorch_model.bin", tensors("", "umt5", "diffusers"))
    assert open_weights(tmp_path, network="umt5").network.name == "umt5"


def file_of(folder, content):
    save_file(content, folder / "a.safetensors")
    return folder / "a.safetensors"


def folder_with(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"any")
    return folder


class Odd:
    """A class of somebody's training program."""


ZERO = np.zeros((2, 2), np.float32)
# name: (how it is made, what is said)
OTHERS = {
    "GGUF": (lambda f: text_file(f, "a.gguf", b"GGUF\3"), "quantised for GGUF"),
    "a folder of GGUF": (lambda f: folder_with(f, "a.gguf"), "quantised for GGUF"),
    "GGUF of a wrong name": (
        lambda f: text_file(f, "a.safetensors", b"GGUF\3"), "quantised for GGUF",
    ),
    "a pointer of LFS": (
        lambda f: text_file(f, "a.safetensors", b"version https://git-lfs.github.com"),
        "pointer of Git LFS, not the file itself: run `git lfs pull`",
    ),
    "a web page": (
        lambda f: text_file(f, "a.pth", b"\n<!DOCTYPE html>"), "a web page, not we",
    ),
    "a LoRA": (
        lambda f: file_of(f, {"diffusion_model.blocks.0.ffn.0.lora_A.weight": ZERO}),
        "is a LoRA.*merge it into its base",
    ),
    "a folder of a LoRA": (
        lambda f: folder_with(f, "adapter_model.safetensors"), "holds a LoRA",
    ),
    "scaled to fp8": (
        lambda f: file_of(f, tensors(**{"blocks.0.ffn.0.scale_weight": ZERO})),
        "scaled to 8 bits .*download the bfloat16",
    ),
    "scaled by others": (
        lambda f: file_of(f, tensors(**{"scaled_fp8": ZERO})), "scaled to 8 bits",
    ),
    "in 4 bits": (
        lambda f: file_of(f, tensors(**{f"{NAME}.absmax": ZERO})), "is quantised",
    ),
    "in int8": (
        lambda f: file_of(f, tensors(**{NAME: np.zeros((32, 32), np.int8)})),
        "has dtype int8; the weights are quantised",
    ),
    "fp8 in a pickle": (
        lambda f: pickled_in_fp8(f), "dtype float8_e4m3fn; the weights are quantised",
    ),
    "a distributed checkpoint": (
        lambda f: folder_with(f, ".metadata", "__0_0.distcp"),
        "distributed checkpoint of PyTorch: .*dcp_to_torch",
    ),
    "a checkpoint of DeepSpeed": (
        lambda f: folder_with(f, "zero_to_fp32.py", "latest"), "of DeepSpeed",
    ),
    "an object beside the tensors": (
        lambda f: pickled_with_object(f),
        "holds .*Odd beside tensors, which is refused, since it could run code",
    ),
}  # fmt: skip


def pickled_in_fp8(folder):
    content = {name: torch.from_numpy(x) for name, x in tensors().items()}
    content[NAME] = content[NAME].to(torch.float8_e4m3fn)
    torch.save(content, folder / "a.pth")
    return folder / "a.pth"


def pickled_with_object(folder):
    torch.save({"state_dict": {"a": torch.zeros(2)}, "args": Odd()}, folder / "a.pth")
    return folder / "a.pth"


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_read_is_called_by_its_name(tmp_path, kind):
    make, said = OTHERS[kind]
    path = make(tmp_path)
    with pytest.raises(UserError, match=said) as error:
        open_weights(path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_damaged_pickle_is_not_called_unsafe(tmp_path):
    path = write_pickle(tmp_path / "a.pth", tensors())
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UserError, match="damaged or of another kind") as error:
        open_weights(path)
    assert "code" not in str(error.value)


@pytest.mark.parametrize(
    ("high", "low"),
    [("transformer", "transformer_2"), ("high_noise_model", "low_noise_model")],
)
def test_two_experts_are_told_and_one_is_chosen(tmp_path, high, low):
    dialect = "diffusers" if high == "transformer" else "wan"
    for name in (high, low):
        write_published(tmp_path / name, "transformer", dialect)
    with pytest.raises(UserError) as error:
        open_weights(tmp_path)
    for part in (high, low, "--expert high or --expert low"):
        assert part in str(error.value)
    for expert, name in (("high", high), ("low", low)):
        source = open_weights(tmp_path, expert=expert)
        assert source.path.parent.name == name
        assert open_weights(tmp_path / name).path == source.path
    write_published(tmp_path / "vae", "vae", "diffusers")
    assert open_weights(tmp_path, network="vae").network.name == "vae"
    with pytest.raises(UserError, match="leave --expert out"):
        open_weights(tmp_path / high, expert="low")


def test_the_other_expert_is_told_with_an_import(tmp_path):
    from anchoredit_jax.convert.published_run import published_run

    for name in ("high_noise_model", "low_noise_model"):
        write_published(tmp_path / name, "transformer", "wan")
    _, told = published_run(open_weights(tmp_path, expert="low"))
    assert any(
        "expert: low_noise_model, one of two; high_noise_model" in t for t in told
    )


def test_one_expert_of_two_is_no_whole_model(tmp_path):
    write_published(tmp_path / "low_noise_model", "transformer", "wan")
    with pytest.raises(UserError, match="holds low_noise_model: .*--expert"):
        open_weights(tmp_path)
    assert open_weights(tmp_path, expert="low").network.name == "transformer"
