"""What an export cannot hold is named, and nothing that can be kept is dropped."""

import contextlib
import io
import json

import numpy as np
import pytest

from anchoredit_jax.checkpoint import assets, save_bundle
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.convert import (
    compare_weights,
    export_pipeline,
    export_weights,
    import_kinds,
    import_weights,
    open_weights,
)
from anchoredit_jax.convert.tensor_files import read_pickle
from anchoredit_jax.errors import UserError
from anchoredit_jax.testing import tiny_params, tiny_run
from anchoredit_jax.training.parents import find_parent
from anchoredit_jax.trees import digest
from launch import convert
from tests.launch.test_train import fails

from . import tiny_wan
from .published import random_tensors, write_pickle, write_published
from .test_round_trips import training_state

TOY = dict(prediction="x0", spatial_stride=0.6, source_prompt="first_token")


def toy(folder, **model):
    run = tiny_run("single_turn", model=model)
    params = tiny_params()
    lineage = Lineage("single_turn", 7, digest(params), run.to_dict())
    return save_bundle(folder, params, run, lineage)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        ("wan", "out"), ("diffusers", "out"), ("wan", "out.safetensors"),
        ("wan", "out.pth"), ("anchoredit", "out.pt"),
    ],
)  # fmt: skip
def test_settings_that_a_dialect_cannot_hold_are_named(tmp_path, dialect, name):
    pytest.importorskip("torch")
    source = open_weights(toy(tmp_path / "W", **TOY))
    out = tmp_path / name
    with pytest.raises(UserError) as error:
        export_weights({"ema": source}, dialect, out)
    said = str(error.value)
    for part in ("prediction 'x0' (Wan's code: 'velocity')", "spatial_stride 0.6",
                 "source_prompt 'first_token'", "--allow-loss"):  # fmt: skip
        assert part in said
    assert "temporal_stride" not in said  # that is the reference's own
    assert [p.name for p in tmp_path.iterdir()] == ["W"]
    export_weights({"ema": source}, dialect, out, allow_loss=True)
    beside = (out, "") if out.is_dir() else (tmp_path, f"{name}.")
    card = (beside[0] / f"{beside[1]}README.md").read_text()
    told = json.loads((beside[0] / f"{beside[1]}anchoredit.json").read_text())
    assert "prediction 'x0'" in card and "x_0" in card and "single_turn@7" in card
    assert told["model"]["spatial_stride"] == 0.6
    assert len(told["not_in_the_dialect"]) == 3
    assert told["lineage"]["digest"] == source.lineage.digest
    assert told["memory"]["sink"] == 1 and told["sampler"]["kind"] == "few_step"


def test_what_a_dialect_holds_is_exported_without_a_word(tmp_path):
    source = open_weights(toy(tmp_path / "W"))
    out = export_weights({"ema": source}, "wan", tmp_path / "out")
    told = json.loads((out / "anchoredit.json").read_text())
    assert told["not_in_the_dialect"] == [] and told["dialect"] == "wan"
    vae = open_weights(write_published(tmp_path / "vae", "vae", "wan"))
    out = export_weights({"": vae}, "diffusers", tmp_path / "vae_out")
    assert "Weights of a vae" in (out / "README.md").read_text()


def test_the_script_refuses_and_allows(tmp_path, capsys):
    toy(tmp_path / "W", **TOY)
    words = ["export", "--checkpoint", tmp_path / "W", "--dialect", "wan", "--out",
             tmp_path / "out", "--quiet"]  # fmt: skip
    assert "cannot hold spatial_stride 0.6" in fails(capsys, convert.main, *words)
    assert not (tmp_path / "out").exists()
    convert.main([*map(str, words), "--allow-loss"])
    assert (tmp_path / "out" / "README.md").is_file()


def test_an_average_alone_is_what_the_loaders_of_the_reference_read(tmp_path, capsys):
    pytest.importorskip("torch")
    source = open_weights(training_state(tmp_path / "W"), weights="ema")
    out = export_weights({"ema": source}, "anchoredit", tmp_path / "a.pt")
    loaded = read_pickle(out)
    name = "model.head.head.weight"
    assert (loaded["generator"][name] == loaded["generator_ema"][name]).all()
    again = open_weights(out)
    assert (again.weights, again.kinds) == ("ema", ("ema",))
    assert compare_weights(source, again).equal
    with pytest.raises(UserError, match="has no live weights"):
        open_weights(out, weights="live")
    words = ["export", "--checkpoint", tmp_path / "W", "--dialect", "anchoredit",
             "--quiet", "--out"]  # fmt: skip
    convert.main([*map(str, words), str(tmp_path / "b.pt")])
    assert "take the average with --use_ema only" in capsys.readouterr().out
    convert.main([*map(str, words), str(tmp_path / "c.pt"), "--weights", "ema"])
    assert "both hold the average" in capsys.readouterr().out


def reference(path, *states):
    """A training checkpoint of the reference with some of its kinds of weights."""
    content = {
        state: random_tensors("transformer", "anchoredit", seed=seed)
        for seed, state in enumerate(("generator_ema", "generator", "critic"))
        if state in states
    }
    return write_pickle(path, content | {"step": 300})


SEEDS = {"ema": 0, "live": 1, "critic": 2}


def test_a_checkpoint_without_averages_is_imported(tmp_path):
    pytest.importorskip("torch")
    source = open_weights(reference(tmp_path / "a.pt", "generator", "critic"))
    assert (source.weights, source.kinds) == ("live", ("live", "critic"))
    run = tiny_run("single_turn")
    file = import_weights(source, tmp_path / "W", run=run, stage="single_turn")
    assert assets.bundle_lineage(file).weights == "params"
    found, _ = find_parent(tiny_run("causal_forcing"), tmp_path / "work", file)
    assert found.lineage.weights == "params"


def test_all_kinds_go_in_and_out_again(tmp_path, capsys):
    pytest.importorskip("torch")
    src = reference(tmp_path / "a.pt", "generator", "generator_ema", "critic")
    config = tmp_path / "tiny.py"
    config.write_text(
        "from anchoredit_jax.testing import tiny_run\n"
        "def get_config(arg):\n"
        "    return tiny_run('causal_forcing').to_dict()\n"
    )
    words = ["import", "--src", src, "--config", config, "--quiet", "--out"]
    convert.main([*map(str, words), str(tmp_path / "W")])
    names = {path.name for path in (tmp_path / "W").iterdir()}
    assert names == {"model.safetensors", "live.safetensors", "critic.safetensors"}
    out = tmp_path / "back.pt"
    convert.main(
        ["export", "--checkpoint", str(tmp_path / "W"), "--dialect", "anchoredit",
         "--out", str(out), "--quiet"]
    )  # fmt: skip
    for weights, seed in SEEDS.items():
        ours = open_weights(tmp_path / "W", weights=weights)
        assert ours.weights == weights
        expected = random_tensors("transformer", "wan", seed=seed)
        for source in (ours, open_weights(out, weights=weights)):
            for name, tensor in source.published("wan"):
                np.testing.assert_array_equal(tensor, expected[name])
    capsys.readouterr()
    convert.main([*map(str, words), str(tmp_path / "one.safetensors")])
    said = capsys.readouterr().out
    assert "not imported: live, critic (a folder as --out takes all)" in said


def test_a_stage_goes_on_with_all_kinds_of_an_import(tmp_path):
    pytest.importorskip("torch")
    src = reference(tmp_path / "a.pt", "generator", "generator_ema", "critic")
    sources = {kind: open_weights(src, weights=kind) for kind in SEEDS}
    import_kinds(
        sources, tmp_path / "W", run=tiny_run("single_turn"), stage="single_turn"
    )
    run = tiny_run("causal_forcing")
    _, trees = find_parent(run, tmp_path / "work", tmp_path / "W")
    for name, seed in (("ema", 0), ("params", 1), ("critic", 2)):
        expected = random_tensors("transformer", "wan", seed=seed)["head.head.weight"]
        np.testing.assert_array_equal(trees[name]["head"]["out"]["kernel"], expected.T)
    import_weights(sources["live"], tmp_path / "other", run=tiny_run("single_turn"))
    other = tmp_path / "other" / "model.safetensors"
    other.replace(tmp_path / "W" / "critic.safetensors")
    with pytest.raises(UserError, match="is not of the same import as"):
        find_parent(run, tmp_path / "work", tmp_path / "W")


@pytest.mark.parametrize("size", [None, "60KB"])
def test_a_pipeline_of_diffusers_is_opened_by_it(tmp_path, monkeypatch, size):
    """Both ways, also in shards: what diffusers saves is found whole, VAE included."""
    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    tiny_wan.register(monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    src = tiny_wan.write_pipeline(tmp_path / "src")
    source = open_weights(import_weights(open_weights(src), tmp_path / "W"))
    export_pipeline(source, tmp_path / "all")
    with contextlib.redirect_stderr(io.StringIO()):
        pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "all")
        options = {} if size is None else {"max_shard_size": size}
        pipeline.save_pretrained(tmp_path / "again", **options)
    assert type(pipeline).__name__ == "WanPipeline"
    again = open_weights(tmp_path / "again")
    assert compare_weights(source, again).equal
    shards = list((tmp_path / "again").glob("vae/*-of-*"))
    assert bool(shards) == (size is not None)
    run = open_weights(import_weights(again, tmp_path / "V")).run
    assert str(tmp_path / "again" / "vae") in run.codec.wan_vae.weights
    for network, path in (
        ("vae", run.codec.wan_vae.weights),
        ("umt5", run.text.umt5.folder),
    ):
        first = open_weights(src, network=network)
        second = open_weights(path, network=network)
        assert compare_weights(first, second).same_values


def test_a_pipeline_needs_its_parts(tmp_path):
    source = open_weights(toy(tmp_path / "W"))
    with pytest.raises(UserError, match="no transformer with a Wan VAE and a UMT5"):
        export_pipeline(source, tmp_path / "all")
