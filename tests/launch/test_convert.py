"""The converter's commands: what they print, write and refuse."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.checkpoint.assets import make_meta, peek
from anchoredit_jax.convert import open_weights
from anchoredit_jax.stages.step import TrainState
from anchoredit_jax.testing import tiny_model, tiny_params, tiny_run
from launch import convert
from tests.convert.published import random_tensors, write_published
from tests.convert.test_round_trips import training_state

from .test_train import fails


def run(*arguments):
    convert.main([*map(str, arguments), "--quiet"])


def test_in_out_and_verified(tmp_path, capsys):
    src = write_published(tmp_path / "src", "transformer", "diffusers")
    run("import", "--dialect", "diffusers", "--src", src, "--out", tmp_path / "W")
    run(
        "export", "--checkpoint", tmp_path / "W", "--dialect", "wan",
        "--out", tmp_path / "wan", "--dtype", "bfloat16", "--shard-size", "0.05MB",
    )  # fmt: skip
    assert len(list((tmp_path / "wan").glob("*.safetensors"))) > 1
    run("verify", src, tmp_path / "W")
    assert capsys.readouterr().out.endswith("bit-equal\n")
    with pytest.raises(SystemExit) as stop:
        run("verify", src, tmp_path / "wan")
    assert stop.value.code == 1
    said = capsys.readouterr().out
    assert "of another dtype" in said and "largest difference" in said
    run("inspect", tmp_path / "wan")
    said = capsys.readouterr().out
    assert "dialect: wan" in said and "bfloat16" in said and "imported@0" in said


def test_folders_of_whole_models(tmp_path, capsys):
    """Of the original authors and of a diffusers pipeline: all three are found."""
    wan, pipeline = tmp_path / "wan", tmp_path / "pipeline"
    for network, folder in (
        ("transformer", "transformer"), ("vae", "vae"), ("umt5", "text_encoder")
    ):  # fmt: skip
        write_published(wan, network, "wan")
        write_published(pipeline / folder, network, "diffusers")
    for network in ("transformer", "vae", "umt5"):
        for root, dialect in ((wan, "wan"), (pipeline, "diffusers")):
            source = open_weights(root, network=network)
            assert (source.network.name, source.dialect) == (network, dialect)
        out = tmp_path / network
        run("import", "--src", wan, "--network", network, "--out", out)
        run("verify", "--network", network, pipeline, out)
    assert open_weights(wan).network.name == "transformer"
    # The same random numbers under both dialects' names, in another order.
    capsys.readouterr()


def test_the_configuration_of_an_import(tmp_path, capsys):
    """Wan's sizes get Wan's codec and text encoder, from beside the transformer."""
    src = tmp_path / "Wan2.1-T2V"
    src.mkdir()
    from anchoredit_jax.convert.networks import NETWORKS
    from anchoredit_jax.models import TransformerConfig

    config = TransformerConfig(
        dim=128, ffn_dim=32, num_heads=1, num_layers=1, text_dim=4096, freq_dim=16
    )
    known = NETWORKS["transformer"]
    shapes = known.shapes("wan", config)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    save_file(tensors, src / "diffusion_pytorch_model.safetensors")
    write_published(src, "vae", "wan")
    run("import", "--src", src, "--out", tmp_path / "W")
    run_config = open_weights(tmp_path / "W").run
    # One head: 128 channels each, as in Wan.
    assert run_config.model == dataclasses.replace(config, dtype="bfloat16")
    assert run_config.text.kind == "umt5" and run_config.text.umt5.folder == str(src)
    assert run_config.codec.kind == "wan_vae"
    assert run_config.codec.wan_vae.weights == str(src / "Wan2.1_VAE.safetensors")
    (tmp_path / "narrow.py").write_text(
        "def get_config(arg):\n"
        "    return dict(stage='single_turn', model=dict(dim=64, ffn_dim=32,\n"
        "        num_heads=1, num_layers=1), text=dict(dim=4096))\n"
    )
    said = fails(
        capsys, convert.main, "import", "--src", src, "--out", tmp_path / "V",
        "--config", tmp_path / "narrow.py",
    )  # fmt: skip
    assert "another geometry (dim 64" in said and "than the weights (dim 128" in said


def test_mistakes_are_one_line(tmp_path, capsys):
    src = write_published(tmp_path / "src", "transformer", "wan")
    for arguments, message in (
        (["inspect", tmp_path / "gone"], "gone' does not exist"),
        (["export", "--checkpoint", src, "--dialect", "x", "--out", "o"], "invalid"),
        (["import", "--src", src, "--out", "o", "--weights", "ema"], "no ema weights"),
        (
            ["export", "--checkpoint", src, "--dialect", "wan", "--out",
             tmp_path / "o", "--shard-size", "much"],
            "expected such as 5GB, given 'much'",
        ),
        (["verify", src, write_published(tmp_path / "v", "vae", "wan")], "a vae"),
        ([], "arguments are required"),
    ):  # fmt: skip
        assert message in fails(capsys, convert.main, *arguments)
    assert not (tmp_path / "o").exists()


def test_a_damaged_checkpoint_is_one_line_that_names_a_whole_one(tmp_path, capsys):
    training_state(tmp_path / "W", steps=(3, 9))
    folder = tmp_path / "W" / "checkpoints"
    run("inspect", tmp_path / "W", "--check")
    said = capsys.readouterr()
    assert "checked: as written, by a digest of every array; all finite" in said.out
    assert "digests: of every array" in said.out and not said.err
    for file in (folder / "9" / "ema").rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content)
    for words in (
        ["inspect", tmp_path / "W", "--check"],
        ["export", "--checkpoint", tmp_path / "W", "--dialect", "wan", "--out",
         tmp_path / "o"],
    ):  # fmt: skip
        said = fails(capsys, convert.main, *words)
        assert f"{folder / '9'} is damaged" in said
    assert f"{folder / '3'} is whole: name that, or train on from" in said
    assert not (tmp_path / "o").exists()


def test_a_checkpoint_of_the_reference_is_imported_by_kind(tmp_path, capsys):
    pytest.importorskip("torch")
    src = write_published(tmp_path / "src", "transformer", "anchoredit")
    config = tmp_path / "tiny.py"
    config.write_text(
        "from anchoredit_jax.testing import tiny_run\n"
        "def get_config(arg):\n"
        "    return tiny_run('causal_forcing').to_dict()\n"
    )
    for kind, seed in (("ema", 0), ("live", 1)):
        out = tmp_path / kind
        run(
            "import", "--dialect", "anchoredit", "--src", src, "--out", out,
            "--weights", kind, "--config", config, "--stage", "single_turn",
        )  # fmt: skip
        ours = open_weights(out)
        assert (ours.weights, ours.step, ours.lineage.stage) == (
            kind, 300, "single_turn"
        )  # fmt: skip
        expected = random_tensors("transformer", "wan", seed=seed)
        np.testing.assert_array_equal(
            ours.read_leaf("head/out/kernel", None), expected["head.head.weight"].T
        )
        said = fails(
            capsys, convert.main, "export", "--checkpoint", out, "--dialect", "wan",
            "--out", tmp_path / "o", "--weights", "live" if kind == "ema" else "ema",
        )  # fmt: skip
        assert f"holds the {kind} weights" in said
    shutil.rmtree(tmp_path / "ema")
    assert (
        json.loads(open_weights(tmp_path / "live").metadata["lineage"])["step"] == 300
    )


def test_a_kept_step_is_named_by_its_number_or_by_its_folder(tmp_path, capsys):
    run_config, params = tiny_run("single_turn"), tiny_params(tiny_model())
    folder = tmp_path / "W" / "single_turn"
    saver = manager.open_manager(folder / "checkpoints", None)
    for step, scale in ((4, 1.0), (9, 2.0)):
        tree = jax.tree.map(lambda x, s=scale: jax.numpy.asarray(s * x), params)
        state = TrainState(jax.numpy.int32(step), tree, {}, tree)
        manager.save(
            saver, step, state, make_meta("single_turn", step, run_config, None)
        )
    saver.close()
    common = ("--dialect", "wan", "--weights", "ema", "--out")
    for name, given in (
        ("a", ("--checkpoint", tmp_path / "W", "--step", 4)),
        ("b", ("--checkpoint", folder / "checkpoints" / "4")),
        ("c", ("--checkpoint", folder)),
    ):
        run("export", *given, *common, tmp_path / name)
    run("verify", tmp_path / "a", tmp_path / "b")
    assert capsys.readouterr().out.endswith("bit-equal\n")
    with pytest.raises(SystemExit):
        run("verify", tmp_path / "a", tmp_path / "c")
    capsys.readouterr()
    run("inspect", folder, "--step", 4)
    assert "step: 4\n" in capsys.readouterr().out
    run("import", "--src", folder, "--step", 4, "--out", tmp_path / "bundle")
    assert peek(tmp_path / "bundle") == ("single_turn", 4)
    said = fails(capsys, convert.main, "inspect", folder, "--step", "5")
    assert "has no such step (there: 4, 9)" in said
