"""Files that are wrong, each refused by name, and nothing half-written left behind."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from anchoredit_jax.convert import export_weights, import_weights, open_weights
from anchoredit_jax.errors import UserError

from .published import random_tensors, write_pickle, write_published

FIRST = "blocks.0.ffn.0.weight"


class Malicious:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def tensors(**changes):
    return {**random_tensors("transformer"), **changes}


def without(*names):
    return {n: t for n, t in tensors().items() if n not in names}


def header_of(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def write_header(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def one_file(folder, content=None):
    path = folder / "model.safetensors"
    save_file(tensors() if content is None else content, path)
    return path


def edited_header(folder, edit):
    path = one_file(folder)
    header, data = header_of(path)
    edit(header)
    write_header(path, header, data)
    return path


def shards(folder, edit=lambda where: None, drop=None):
    """Two shards and their index."""
    names = sorted(tensors())
    where = {}
    for number, part in enumerate((names[:10], names[10:]), 1):
        file = f"diffusion_pytorch_model-{number:05d}-of-00002.safetensors"
        save_file({n: tensors()[n] for n in part}, folder / file)
        where |= dict.fromkeys(part, file)
    edit(where)
    index = {"metadata": {}, "weight_map": where}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps(index)
    )
    if drop:
        (folder / drop).unlink()
    return folder


def text_file(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    return path


def pickled(folder, content, name="model.pt"):
    return write_pickle(folder / name, content)


def prefixed(prefix="model.", **changes):
    return {prefix + name: t for name, t in tensors(**changes).items()}


def an_embedding_of_zeros(folder):
    content = random_tensors("umt5")
    content["token_embedding.weight"][:] = 0
    return one_file(folder, content)


def two_embeddings(folder):
    content = random_tensors("umt5", "diffusers")
    content["encoder.embed_tokens.weight"] = content["shared.weight"] + 1
    return one_file(folder, content)


def set_offsets(header):
    header[FIRST]["data_offsets"] = [0, 10**9]


def overlap(header):
    names = [n for n in header if n != "__metadata__"]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]


# name: (how it is made, options of `open_weights`, what is said)
BAD = {
    "nothing there": (lambda f: f / "gone", {}, "gone' does not exist"),
    "an empty folder": (lambda f: f, {}, "no weights in .* looked for diffusion_pyt"),
    "an empty file": (
        lambda f: text_file(f, "a.safetensors", b""), {}, "is no safetensors file"
    ),
    "some text": (
        lambda f: text_file(f, "a.safetensors", b"hello, world " * 20), {},
        "is no safetensors file",
    ),
    "another kind of file": (
        lambda f: text_file(f, "a.onnx", b"any"), {},
        "expected one of .safetensors, .pth, .pt, .bin",
    ),
    "truncated in the header": (
        lambda f: truncated(one_file(f), 100), {}, "is no safetensors file"
    ),
    "truncated in the data": (
        lambda f: truncated(one_file(f), -64), {}, "is no safetensors file"
    ),
    "a header that points behind the end": (
        lambda f: edited_header(f, set_offsets), {}, "is no safetensors file"
    ),
    "a header of overlapping tensors": (
        lambda f: edited_header(f, overlap), {}, "is no safetensors file"
    ),
    "a header that is no JSON": (
        lambda f: text_file(f, "a.safetensors", bytes([9, *[0] * 7]) + b"{'a': 1}}"),
        {}, "is no safetensors file",
    ),
    "an absurd length of the header": (
        lambda f: text_file(f, "a.safetensors", (2**60).to_bytes(8, "little") + b"{}"),
        {}, "is no safetensors file",
    ),
    "bytes after the last tensor": (
        lambda f: text_file(f, "a.safetensors", one_file(f).read_bytes() + b"more"), {},
        "is no safetensors file",
    ),
    "a tensor missing": (
        lambda f: one_file(f, without(FIRST)), {}, f"no '{FIRST}', which tells"
    ),
    "another tensor missing": (
        lambda f: one_file(f, without("blocks.1.norm3.bias")), {},
        "missing: blocks.1.norm3.bias; unexpected: none",
    ),
    "a tensor too many": (
        lambda f: one_file(f, tensors(extra=np.zeros(3, np.float32))), {},
        "missing: none; unexpected: extra",
    ),
    "image conditioning, another model": (
        lambda f: one_file(f, tensors(**{"img_emb.proj.0.weight": np.zeros(3)})), {},
        "unexpected: img_emb.proj.0.weight",
    ),
    "a tensor of another shape": (
        lambda f: one_file(f, tensors(**{"head.head.bias": np.zeros(7, np.float32)})),
        {}, r"'head.head.bias' is \[7\], expected \[16\]",
    ),
    "a layer missing in the middle": (
        lambda f: one_file(
            f, without(*[n for n in tensors() if n.startswith("blocks.0.cross")])
        ), {}, "missing: blocks.0.cross_attn.k.bias, .* and 6 more",
    ),
    "another network": (
        lambda f: one_file(f, {"encoder.weight": np.zeros(3, np.float32)}), {},
        "not the weights of a Wan transformer, a Wan VAE or a UMT5.*found encoder",
    ),
    "a shard missing": (
        lambda f: shards(f, drop="diffusion_pytorch_model-00002-of-00002.safetensors"),
        {}, "these are not beside it: diffusion_pytorch_model-00002",
    ),
    "shards without an index": (
        lambda f: shards(f, drop="diffusion_pytorch_model.safetensors.index.json"), {},
        "shards without their index",
    ),
    "an index of a tensor that no shard has": (
        lambda f: shards(f, lambda where: where.update(ghost=min(where.values()))), {},
        "not those that it was made for; missing: ghost",
    ),
    "a tensor that the index does not know": (
        lambda f: shards(f, lambda where: where.pop(FIRST)), {},
        f"unexpected: {FIRST}",
    ),
    "an index that leaves its folder": (
        lambda f: shards(f, lambda where: where.update({FIRST: "../a.safetensors"})),
        {}, "names shards outside of its folder",
    ),
    "an index that is no JSON": (
        lambda f: text_file(f, "m.safetensors.index.json", b"{"), {},
        "is no index of shards",
    ),
    "an index without a map": (
        lambda f: text_file(f, "m.safetensors.index.json", b"[1]"), {},
        "expected a JSON object with a 'weight_map'",
    ),
    "several files of one kind": (
        lambda f: (
            one_file(f).rename(f / "diffusion_pytorch_model.safetensors"),
            one_file(f).rename(f / "diffusion_pytorch_model.fp16.safetensors"),
        )[0].parent,
        {}, "holds several weights, name one",
    ),
    "a damaged config.json": (
        lambda f: (text_file(f, "config.json", b"{"), one_file(f))[1], {},
        "config.json' is damaged",
    ),
    "a truncated pickle": (
        lambda f: truncated(pickled(f, tensors()), -2000), {}, "cannot be read as a PyT"
    ),
    "a pickle of text": (
        lambda f: text_file(f, "a.pth", b"no pickle"), {}, "cannot be read as a PyTorch"
    ),
    "a pickle of a list": (
        lambda f: pickled(f, [1, 2]), {}, "no state dict: expected tensors by name"
    ),
    "a pickle of numbers": (
        lambda f: pickled(f, {"a": 1, "b": 2}), {}, "found something else at a, b"
    ),
    "a malicious pickle": (
        lambda f: pickled(f, {"x": Malicious(f / "ran")}), {},
        "refused, since it could run code",
    ),
    "no averaged weights": (
        lambda f: pickled(f, {"generator": prefixed(), "step": 3}), {"weights": "ema"},
        "has no ema weights .*it holds generator, step: use --weights live",
    ),
    "no live weights": (
        lambda f: pickled(f, {"generator_ema": prefixed()}), {"weights": "live"},
        "has no live weights .*use --weights ema",
    ),
    "averaged weights where there is one kind": (
        one_file, {"weights": "ema"}, "no ema weights apart: leave --weights out"
    ),
    "a prefix that is not theirs": (
        lambda f: pickled(f, {"generator_ema": prefixed("net.")}), {},
        "begin with 'model.', found net.blocks",
    ),
    "two names that are one without wrappers": (
        lambda f: one_file(f, tensors(**{f"module.{FIRST}": tensors()[FIRST]})), {},
        f"are both '{FIRST}' without their wrapper names",
    ),
    "another dialect than was asked for": (
        one_file, {"dialect": "diffusers"}, "of the dialect 'wan', expected 'diffusers'"
    ),
    "another network than was asked for": (
        one_file, {"network": "vae"}, "holds a transformer, expected a vae"
    ),
    "a text encoder without its token table": (
        an_embedding_of_zeros, {}, "'token_embedding.weight' is all zeros"
    ),
    "a text encoder with two token tables": (
        two_embeddings, {}, "differ, but are one tensor in UMT5"
    ),
    "a file of ours, damaged": (
        lambda f: truncated(
            import_weights(open_weights(write_published(f / "a", "vae", "wan")), f), -9
        ), {}, "is no safetensors file",
    ),
    "a dtype that nobody trains in": (
        lambda f: edited_header(
            f, lambda h: h["head.head.bias"].update(dtype="F8_E4M3", shape=[64])
        ), {}, "has dtype F8_E4M3; known: F64, F32",
    ),
}  # fmt: skip


def test_there_are_many():
    assert len(BAD) >= 40


@pytest.mark.parametrize("kind", BAD)
def test_is_refused_in_one_line(tmp_path, kind):
    make, options, said = BAD[kind]
    if "pickle" in kind or "weights" in kind or "prefix" in kind:
        pytest.importorskip("torch")
    folder = tmp_path / "in"
    folder.mkdir()
    path = make(folder)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=said) as error:
        import_weights(open_weights(path, **options), out)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)  # the file is named
    assert not list(out.glob("*"))
    assert not (folder / "ran").exists()


def test_a_write_that_fails_leaves_nothing(tmp_path):
    source = open_weights(write_published(tmp_path / "in", "transformer", "wan"))
    for suffix in ("", ".safetensors"):
        out = tmp_path / f"out{suffix}"
        calls = []

        def fail(done, calls=calls):
            calls.append(done)
            if len(calls) == 5:
                raise OSError("no space left on device")

        with pytest.raises(OSError, match="no space"):
            export_weights({"": source}, "wan", out, progress=fail)
        with pytest.raises(OSError, match="no space"):
            calls.clear()
            import_weights(source, tmp_path / "ours.safetensors", progress=fail)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_existing_files_are_not_overwritten(tmp_path):
    source = open_weights(write_published(tmp_path / "in", "transformer", "wan"))
    out = export_weights({"": source}, "wan", tmp_path / "out")
    with pytest.raises(UserError, match="out' exists: remove it or name another"):
        export_weights({"": source}, "wan", out)


def test_wrong_exports_are_refused(tmp_path):
    source = open_weights(write_published(tmp_path / "in", "vae", "wan"))
    for dialect, out, said in (
        ("flax", "out", "dialect must be one of"),
        ("anchoredit", "out.pt", "a PyTorch checkpoint of a transformer"),
        ("diffusers", "out.pth", "diffusers reads folders"),
    ):
        with pytest.raises(UserError, match=said):
            export_weights({"": source}, dialect, tmp_path / out)
    with pytest.raises(UserError, match="dtype must be one of .*'int8'"):
        export_weights({"": source}, "wan", tmp_path / "out", dtype="int8")
    with pytest.raises(UserError, match="size of a shard must be positive"):
        export_weights({"": source}, "wan", tmp_path / "out", shard_size=0)


@pytest.mark.parametrize(
    "wrapped",
    [
        "_orig_mod.{}",
        "module._orig_mod.{}",
        "{}._fsdp_wrapped_module.weight",
        "blocks.0._checkpoint_wrapped_module.ffn._fsdp_wrapped_module.0.weight",
    ],
)
def test_wrapper_names_are_removed_wherever_they_stand(tmp_path, wrapped):
    content = without(FIRST)
    name = wrapped.format(FIRST if "}." not in wrapped else FIRST[: -len(".weight")])
    content[name] = tensors()[FIRST]
    source = open_weights(one_file(tmp_path, content))
    np.testing.assert_array_equal(
        source.read_leaf("blocks/ffn/fc1/kernel", 0), tensors()[FIRST].T
    )


@pytest.mark.parametrize("network", ["transformer", "umt5"])
def test_a_layer_of_any_number_is_refused_before_it_is_counted(tmp_path, network):
    """A name is enough to ask for a loop over 10^9 layers."""
    (file,) = write_published(tmp_path / "in", network, "wan").glob("*.safetensors")
    tensors = load_file(file)
    name = next(name for name in tensors if name.startswith("blocks.0."))
    for number, said in (("9" * 9, "num_layers must be in"), ("9" * 5000, "9999")):
        other = name.replace("blocks.0.", f"blocks.{number}.")
        save_file({**tensors, other: tensors[name]}, file, {"format": "pt"})
        with pytest.raises(UserError, match=said) as caught:
            open_weights(file.parent)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("network", ["transformer", "umt5"])
@pytest.mark.parametrize("value", [10**18, -1, 1e300, float("inf"), "x", [1], True])
def test_numbers_of_a_config_are_numbers_within_bounds(tmp_path, network, value):
    folder = write_published(tmp_path / "in", network, "diffusers")
    (config,) = folder.rglob("config.json")
    names = {
        "transformer": ("eps", "num_attention_heads"),
        "umt5": ("relative_attention_max_distance", "layer_norm_epsilon"),
    }
    told = json.loads(config.read_text())
    for name in names[network]:
        config.write_text(json.dumps(told | {name: value}))
        with pytest.raises(UserError) as caught:
            open_weights(folder)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
