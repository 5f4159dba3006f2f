"""Weights come back bit for bit, from whichever side they set out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.checkpoint import (
    Lineage,
    digest,
    load_weights,
    manager,
    save_bundle,
)
from anchoredit_jax.checkpoint.assets import make_meta
from anchoredit_jax.checkpoint.safetensors_stream import SafetensorsFile
from anchoredit_jax.convert import (
    compare_weights,
    describe,
    export_weights,
    import_weights,
    open_weights,
)
from anchoredit_jax.convert.tensor_files import open_tensors, read_pickle
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.step import make_train_state
from anchoredit_jax.testing import tiny_model, tiny_params, tiny_run

from .published import CONFIGS, EVERY, random_tensors, write_published

DTYPES = {"float32": np.float32, "bfloat16": jnp.bfloat16}


def suffix(dialect):
    return ".pt" if dialect == "anchoredit" else ""


def exported_tensors(path, dialect):
    """What an export holds, by the names in the file."""
    if dialect != "anchoredit":
        file = next(path.glob("*.safetensors"))
        return open_tensors([file]), SafetensorsFile(file).metadata
    from anchoredit_jax.convert.tensor_files import pickled_tensors

    loaded = read_pickle(path)
    return pickled_tensors(path, loaded["generator_ema"]), loaded["metadata"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("network", "dialect"), EVERY)
def test_torch_jax_torch(tmp_path, network, dialect, dtype):
    pytest.importorskip("torch")
    src = write_published(tmp_path / "src", network, dialect, DTYPES[dtype])
    source = open_weights(src, dialect)
    assert (source.network.name, source.dialect) == (network, dialect)
    run = None
    if dialect == "anchoredit":  # which does not tell the number of heads
        run = tiny_run("single_turn")
    file = import_weights(source, tmp_path / "ours", run=run)
    ours = open_weights(file)
    assert all(leaf.dtype == DTYPES[dtype] for leaf in ours.leaves.values())
    out = tmp_path / f"out{suffix(dialect)}"
    export_weights({"ema": ours}, dialect, out)
    tensors, metadata = exported_tensors(out, dialect)
    expected = random_tensors(network, dialect, DTYPES[dtype])
    assert set(tensors) == set(expected)
    for name, tensor in expected.items():
        assert tensors[name].dtype == tensor.dtype, name
        assert tensors[name].tobytes() == tensor.tobytes(), name
    assert metadata["network"] == network and metadata["dialect"] == dialect
    assert compare_weights(open_weights(src), open_weights(out)).equal


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dialect", ["wan", "diffusers", "anchoredit"])
def test_jax_torch_jax(tmp_path, dialect, dtype):
    """Weights, configuration and lineage: the same file comes back."""
    pytest.importorskip("torch")
    file = bundle(tmp_path / "ours", dtype)
    out = tmp_path / f"out{suffix(dialect)}"
    export_weights({"ema": open_weights(file)}, dialect, out)
    back = import_weights(open_weights(out), tmp_path / "back")
    ours, again = load_weights(file), load_weights(back)
    jax.tree.map(np.testing.assert_array_equal, again.params, ours.params)
    assert again.run == ours.run
    assert again.lineage == ours.lineage


def bundle(folder, dtype="float32", weights="ema"):
    run = tiny_run("causal_forcing")
    params = jax.tree.map(
        lambda x: jnp.asarray(x, DTYPES[dtype]), tiny_params(tiny_model())
    )
    parent = Lineage("single_turn", 5, "0" * 15 + "1", {})
    lineage = Lineage(
        "causal_forcing", 7, digest(params), run.to_dict(), parent, weights
    )
    return save_bundle(folder, params, run, lineage)


def training_state(folder, live_scale=2.0, steps=(9,)):
    """Training checkpoints whose averaged and live weights differ."""
    run = tiny_run("single_turn")
    params = jax.tree.map(jnp.asarray, tiny_params(tiny_model()))
    state = make_train_state(params, run.optimizer)
    state = state.replace(params=jax.tree.map(lambda x: live_scale * x, params))
    saver = manager.open_manager(folder / "checkpoints", None)
    for step in steps:
        manager.save(saver, step, state, make_meta("single_turn", step, run, None))
    saver.wait_until_finished()
    saver.close()
    return folder


def test_a_training_checkpoint_is_exported_a_leaf_at_a_time(tmp_path, monkeypatch):
    folder = training_state(tmp_path / "W")
    monkeypatch.setattr(manager, "read_item", None)  # the whole tree is never read
    for weights, scale in (("ema", 1.0), ("live", 2.0)):
        source = open_weights(folder, weights=weights)
        out = export_weights({weights: source}, "wan", tmp_path / f"{weights}")
        tensors, metadata = exported_tensors(out, "wan")
        key = tiny_params(tiny_model())["blocks"]["cross_attn"]["k"]["kernel"]
        np.testing.assert_array_equal(
            tensors["blocks.1.cross_attn.k.weight"], scale * key[1].T
        )
        assert metadata["weights"] == weights and metadata["step"] == "9"
        assert metadata["lineage"] == digest(load_params(folder, scale))


def load_params(folder, scale):
    del folder
    return jax.tree.map(lambda x: scale * x, tiny_params(tiny_model()))


def test_a_checkpoint_of_the_reference_takes_both_kinds(tmp_path):
    pytest.importorskip("torch")
    folder = training_state(tmp_path / "W")
    sources = {w: open_weights(folder, weights=w) for w in ("ema", "live")}
    out = export_weights(sources, "anchoredit", tmp_path / "model.pt")
    loaded = read_pickle(out)
    assert set(loaded) == {"generator", "generator_ema", "step", "metadata"}
    assert loaded["step"] == 9
    name = "model.head.head.weight"
    assert (loaded["generator"][name] == 2 * loaded["generator_ema"][name]).all()
    for weights, source in sources.items():
        again = open_weights(out, "anchoredit", weights)
        assert again.step == 9
        assert compare_weights(source, again).equal


def test_shards_have_an_index_and_are_one_model(tmp_path):
    source = open_weights(bundle(tmp_path / "ours"))
    out = export_weights({"": source}, "diffusers", tmp_path / "out", shard_size=40_000)
    files = sorted(path.name for path in out.glob("*.safetensors"))
    assert files[0] == f"diffusion_pytorch_model-00001-of-{len(files):05d}.safetensors"
    assert len(files) > 2
    assert all(path.stat().st_size < 50_000 for path in out.glob("*.safetensors"))
    again = open_weights(out)
    assert compare_weights(source, again).equal
    assert again.dialect == "diffusers"


def test_a_smaller_dtype_rounds_and_its_file_is_half_as_large(tmp_path):
    source = open_weights(bundle(tmp_path / "ours"))
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        out = tmp_path / f"{dtype}.safetensors"
        export_weights({"": source}, "wan", out, dtype=dtype)
        file = SafetensorsFile(out)
        header = 8 + int.from_bytes(out.read_bytes()[:8], "little")
        assert out.stat().st_size - header == size * source.count
        for name, tensor in random_like(source):
            rounded = tensor.astype(DTYPES[dtype])
            np.testing.assert_array_equal(file.read(name), rounded)
    comparison = compare_weights(source, open_weights(out))
    assert not comparison.same_values
    assert 0 < comparison.largest[0] < 0.02


def random_like(source):
    for piece in source.pieces():
        yield (
            piece.theirs,
            piece.layout.theirs(source.read_leaf(piece.ours, piece.layer)),
        )


def test_the_importers_metadata_is_ours_and_weights_can_be_trained_on(tmp_path):
    src = write_published(tmp_path / "src", "transformer", "diffusers", jnp.bfloat16)
    file = import_weights(open_weights(src), tmp_path / "ours")
    weights = load_weights(file)
    assert weights.lineage.stage == "imported" and weights.lineage.step == 0
    model = CONFIGS["transformer"]
    assert (weights.run.model.num_heads, weights.run.model.dim) == (2, model.dim)
    from anchoredit_jax.training.parents import find_parent

    run = tiny_run("single_turn", text={"length": 4, "dim": 8})
    found, trees = find_parent(run, tmp_path / "work", file)
    assert found.lineage == weights.lineage
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(trees["params"]))
    wide = tiny_run("single_turn", model={"ffn_dim": 64})
    with pytest.raises(UserError, match="differs in model.ffn_dim"):
        find_parent(wide, tmp_path / "work", file)
    for stage in ("causal_forcing", "consistency"):
        with pytest.raises(UserError, match="given one of imported"):
            find_parent(tiny_run(stage), tmp_path / "work", file)


def test_imported_weights_can_count_as_any_stages_result(tmp_path):
    src = write_published(tmp_path / "src", "transformer", "wan")
    file = import_weights(
        open_weights(src), tmp_path / "ours", stage="single_turn",
        run=tiny_run("single_turn"),
    )  # fmt: skip
    from anchoredit_jax.training.parents import find_parent

    found, _ = find_parent(tiny_run("causal_forcing"), tmp_path / "work", file)
    assert found.lineage.stage == "single_turn"


def test_description_tells_what_is_inside(tmp_path):
    said = describe(open_weights(training_state(tmp_path / "W")))
    for line in ("network: transformer", "weights: ema", "step: 9", "num_heads 2"):
        assert line in said
    src = write_published(tmp_path / "vae", "vae", "wan", jnp.bfloat16)
    said = describe(open_weights(src))
    assert "tensors: 194" in said and "bfloat16" in said and "dialect: wan" in said
