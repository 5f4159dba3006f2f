"""What an import finds out, what it assumes, and what it says of that."""

from pathlib import Path

import numpy as np
import pytest

from anchoredit_jax.convert import describe, export_weights, import_weights
from anchoredit_jax.convert.networks import NETWORKS
from anchoredit_jax.convert.published_run import published_run
from anchoredit_jax.convert.source import Source, open_weights
from anchoredit_jax.encoders import make_codec, make_text_encoder
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.presets import make_config
from anchoredit_jax.testing import tiny_run

from . import tiny_wan


def source_of(config, dialect="wan", path=Path("nowhere/model.safetensors")):
    """Published weights of a geometry, as far as shapes go."""
    known = NETWORKS["transformer"]
    shapes = known.shapes("wan", config)
    found = known.config_of(shapes, "wan", {})
    return Source(path, known, dialect, None, found, {}, None, heads_told=False)


@pytest.mark.parametrize(("name", "heads"), [("wan_1_3b", 12), ("wan_14b", 40)])
def test_the_preset_is_found_by_shapes(name, heads):
    run, told = published_run(source_of(make_config(name)))
    assert run.model == make_config(
        name, dtype="bfloat16", attention=run.model.attention
    )
    assert run.model.num_heads == heads and run.data.size == 1024
    sampler, memory = run.sampler, run.memory
    assert (sampler.kind, sampler.steps, sampler.shift, sampler.guidance) == (
        "euler", 50, 5.0, 5.0
    )  # fmt: skip
    assert (memory.sink, memory.window) == (1, 4)
    assert (run.codec.kind, run.text.kind, run.text.length) == ("wan_vae", "umt5", 512)
    assert run.text.umt5.dtype == "bfloat16"
    said = "\n".join(told)
    for part in (
        f"model: {name}, by its shapes", f"num_heads: {heads}", "1024 x 1024 pixels",
        "euler, steps 50, shift 5, guidance 5", "window 4", "vae: none beside",
        "--vae", "umt5: none beside", "--text",
    ):  # fmt: skip
        assert part in said


def test_the_reference_has_settings_of_its_own():
    run, told = published_run(source_of(make_config("wan_14b"), "anchoredit"))
    assert run.sampler.timesteps == (1000.0, 750.0, 500.0, 250.0)
    assert (run.sampler.kind, run.sampler.guidance) == ("few_step", 1.0)
    np.testing.assert_allclose(run.sampler.schedule[1], [1, 0.75, 0.5, 0.25], rtol=1e-6)
    assert run.memory.window is None and run.memory.positions == "absolute"
    assert (run.model.source_prompt, run.model.temporal_stride) == ("first_prompt", 4)
    assert run.data.size == 1024
    said = "\n".join(told)
    assert "timesteps 1000/750/500/250" in said and "max_turns" in said


def test_another_geometry_is_said_to_be_unknown():
    run, told = published_run(source_of(make_config("wan_14b", num_layers=7)))
    assert run.model.num_layers == 7 and run.model.num_heads == 40
    assert "unknown geometry (dim 5120, 7 layers)" in told[0]
    narrow = make_config("wan_14b", dim=192, num_heads=3)
    with pytest.raises(UserError, match="does not tell the number of attention heads"):
        published_run(source_of(narrow))


@pytest.mark.parametrize("shard_size", [None, 100_000])
def test_a_pipeline_is_found_whole(tmp_path, monkeypatch, shard_size):
    tiny_wan.register(monkeypatch)
    folder = tiny_wan.write_pipeline(tmp_path / "pipeline", shard_size)
    if shard_size:
        assert len(list((folder / "vae").glob("*.safetensors"))) > 1
    runs = []
    for src in (folder, folder / "transformer"):
        run, told = published_run(open_weights(src))
        assert told[0] == "model: wan_tiny, by its shapes"
        assert not [line for line in told if "num_heads" in line or "none" in line]
        runs.append(run)
    assert runs[0] == runs[1]
    (run, _) = runs
    assert (run.data.size, run.sampler.steps, run.memory.window) == (32, 2, 2)
    assert Path(run.codec.wan_vae.weights).parent == folder / "vae"
    assert (run.codec.wan_vae.size, run.text.umt5.size) == ("tiny", "umt5_tiny")
    assert make_codec(run.codec).stride == 8
    for text in (folder, folder / "text_encoder"):
        run, _ = published_run(open_weights(folder), folder / "vae", text)
        encoder = make_text_encoder(run.text)
        assert (encoder.length, encoder.dim) == (512, 32)
    with pytest.raises(UserError, match="does not exist"):
        published_run(open_weights(folder), tmp_path / "gone.pth")


def test_what_was_assumed_goes_with_the_weights(tmp_path, monkeypatch):
    """Stored, shown, and back from an export; a given configuration assumes nothing."""
    tiny_wan.register(monkeypatch)
    folder = tiny_wan.write_pipeline(tmp_path / "pipeline")
    ours = open_weights(import_weights(open_weights(folder), tmp_path / "W"))
    assert ours.assumptions == published_run(open_weights(folder))[1]
    said = describe(ours)
    assert "assumed: model: wan_tiny, by its shapes" in said
    assert "edits: 32 px, float32, euler, 2 steps, shift 5, guidance 2, sink 1" in said
    export_weights({"": ours}, "wan", tmp_path / "out")
    back = import_weights(open_weights(tmp_path / "out"), tmp_path / "back")
    assert open_weights(back).assumptions == ours.assumptions
    given = import_weights(
        open_weights(folder), tmp_path / "V",
        run=tiny_run("single_turn", model=tiny_wan.PRESET),
    )  # fmt: skip
    assert open_weights(given).assumptions == ()
