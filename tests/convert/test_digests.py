"""Damage is found, and what is no number is refused, whichever way weights go."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.checkpoint.safetensors_stream import SafetensorsFile
from anchoredit_jax.convert import (
    check,
    describe,
    export_weights,
    import_weights,
    load_vae,
    open_weights,
)
from anchoredit_jax.convert.source import source_of_params, source_of_tensors
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.wan_vae import make_vae_config
from anchoredit_jax.testing import tiny_run

from .published import (
    CONFIGS,
    from_published,
    random_tensors,
    to_published,
    write_published,
)
from .test_round_trips import training_state

NETWORKS = ("transformer", "vae", "umt5")


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 64
    path.write_bytes(content)


def ours(folder, network="transformer"):
    src = write_published(folder / "src", network, "wan")
    return import_weights(open_weights(src), folder / "ours")


@pytest.mark.parametrize("network", NETWORKS)
def test_a_flipped_bit_of_a_file_of_ours_is_found_by_all_readers(tmp_path, network):
    path = ours(tmp_path, network)
    assert "by a digest of every file" in check(open_weights(path))
    flip(path, -1)
    source = open_weights(path)
    for read in (
        lambda: export_weights({"": source}, "wan", tmp_path / "out"),
        lambda: import_weights(source, tmp_path / "again"),
        source.tree,
        lambda: check(source),
    ):
        with pytest.raises(UserError, match="is damaged: it does not match its digest"):
            read()
    assert not (tmp_path / "out").exists() and not (tmp_path / "again").exists()


def test_a_damaged_vae_is_not_edited_with(tmp_path):
    path = ours(tmp_path, "vae")
    flip(path, -1)
    with pytest.raises(UserError, match="does not match its digest"):
        load_vae(path, make_vae_config("tiny"))


def test_settings_in_the_header_are_part_of_the_digest(tmp_path):
    path = ours(tmp_path)
    content = path.read_bytes()
    assert content.count(rb"\"shift\": 5.0") >= 1
    path.write_bytes(content.replace(rb"\"shift\": 5.0", rb"\"shift\": 4.0"))
    with pytest.raises(UserError, match="does not match its digest"):
        open_weights(path)


def test_exports_carry_digests_in_every_shard(tmp_path):
    source = open_weights(ours(tmp_path))
    out = export_weights({"": source}, "wan", tmp_path / "out", shard_size=40_000)
    shards = sorted(out.glob("*.safetensors"))
    assert len(shards) > 1 and all(SafetensorsFile(f).check() for f in shards)
    flip(shards[-1], -1)
    with pytest.raises(UserError, match="does not match its digest"):
        import_weights(open_weights(out), tmp_path / "back")


def test_a_checkpoint_is_checked_leaf_by_leaf(tmp_path):
    folder = training_state(tmp_path / "W")
    source = open_weights(folder)
    assert "digests: of every array" in describe(source)
    assert "by a digest of every array" in check(source)
    for file in (folder / "checkpoints" / "9" / "ema").rglob("d/*"):
        flip(file, -20)
    for read in (
        lambda: export_weights({"": source}, "wan", tmp_path / "out"),
        lambda: check(source),
    ):
        with pytest.raises(UserError, match="9 is damaged"):
            read()
    assert not (tmp_path / "out").exists()


def test_what_has_no_digests_says_so(tmp_path):
    src = write_published(tmp_path / "src", "vae", "wan")
    assert "digests: none" in describe(open_weights(src))
    assert "no digests to compare with" in check(open_weights(src))
    folder = training_state(tmp_path / "W")
    file = folder / "checkpoints" / "9" / "meta" / "metadata"
    meta = json.loads(file.read_text())
    del meta[manager.CHECKSUMS], meta[manager.SEAL]
    file.write_text(json.dumps(meta))
    assert "digests: none" in describe(open_weights(folder))
    export_weights({"": open_weights(folder)}, "wan", tmp_path / "out")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value):
    tensors = random_tensors("transformer")
    tensors["head.head.bias"][3] = value
    save_file(tensors, tmp_path / "a.safetensors")
    source = open_weights(tmp_path / "a.safetensors")
    for read, name in (
        (
            lambda: import_weights(
                source, tmp_path / "ours.safetensors", run=tiny_run("single_turn")
            ),
            "head/out/bias",
        ),
        (
            lambda: export_weights({"": source}, "wan", tmp_path / "out"),
            "head.head.bias",
        ),
        (lambda: check(source), "head.head.bias"),
        (source.tree, "head/out/bias"),
    ):
        with pytest.raises(UserError, match=f"NaN or infinities in '{name}'"):
            read()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors"]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("dialect", ["wan", "diffusers"])
def test_arrays_that_are_given_out_are_the_callers_own(network, dialect):
    config = CONFIGS[network]
    tensors = random_tensors(network, dialect)
    before = {name: tensor.copy() for name, tensor in tensors.items()}
    params = from_published(network, tensors, config)
    read = source_of_tensors(tensors, network, config).read_leaf
    for name in source_of_params(params, network, config).leaves:
        read(name, None)[...] += 1
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, before[name])
    for tensor in to_published(network, params, dialect, config).values():
        tensor += 1
    again = to_published(network, params, dialect, config)
    for name, tensor in again.items():
        np.testing.assert_array_equal(tensor, before[name])


def test_arrays_of_files_are_the_callers_own(tmp_path):
    pytest.importorskip("torch")
    folder = training_state(tmp_path / "W")
    pickle = write_published(tmp_path / "src", "transformer", "anchoredit")
    for path in (folder, pickle):
        source = open_weights(path)
        for layer in (0, None):
            first = source.read_leaf("blocks/norm_cross/bias", layer)
            kept = first.copy()
            first += 1
            np.testing.assert_array_equal(
                source.read_leaf("blocks/norm_cross/bias", layer), kept
            )


def test_the_order_of_bytes_in_memory_does_not_reach_a_file(tmp_path):
    tensors = random_tensors("vae")
    swapped = {name: tensor.astype(">f4") for name, tensor in tensors.items()}
    source = source_of_tensors(swapped, "vae", CONFIGS["vae"])
    path = import_weights(source, tmp_path)
    for name, tensor in open_weights(path).published("wan"):
        np.testing.assert_array_equal(tensor, tensors[name])
    params = from_published("vae", tensors, CONFIGS["vae"])
    import jax

    big = jax.tree.map(lambda leaf: leaf.astype(">f4"), params)
    out = export_weights(
        {"": source_of_params(big, "vae", CONFIGS["vae"])}, "wan", tmp_path / "out"
    )
    for name, tensor in open_weights(out).published("wan"):
        np.testing.assert_array_equal(tensor, tensors[name])
