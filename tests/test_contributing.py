"""The examples of CONTRIBUTING.md do what is said of them."""

import dataclasses
import importlib.util
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from anchoredit_jax.data.batches import open_steps
from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.kinds import KINDS, Kind, fingerprint
from anchoredit_jax.evaluation.table import table_of
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"
EXAMPLES = [text.split("```")[0] for text in PAGE.read_text().split("```python\n")[1:]]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """The module that an example is."""

    def loaded(number: int) -> types.ModuleType:
        path = tmp_path / f"example_{number}.py"
        path.write_text(EXAMPLES[number])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return loaded


def test_the_stage_trains(load, monkeypatch):
    stage = load(0).STAGE
    monkeypatch.setitem(STAGES, stage.name, stage)
    params = jax.tree.map(jax.numpy.asarray, tiny_params())
    run = tiny_run(stage.name)
    state = stage.init_state(run, {"params": params, "ema": params})
    state, metrics = stage.make_train_step(run)(state, tiny_batch())
    assert np.isfinite(metrics["loss"]) and metrics["grad_norm"] > 0


def test_the_source_makes_batches(load, tmp_path, monkeypatch):
    images = np.zeros((3, 3, 16, 16, 3), np.uint8)
    texts = np.array([["make it blue", "undo that"]] * 3)
    np.savez(tmp_path / "sessions.npz", images=images, instructions=texts)
    module = load(1)

    @dataclasses.dataclass(frozen=True)
    class WithArrays(DataConfig):
        arrays: module.ArraysConfig | None = None

    kind = Kind(module.open_arrays, module.fingerprint_of_arrays)
    monkeypatch.setitem(KINDS, "arrays", kind)
    stored = module.ArraysConfig(str(tmp_path / "sessions.npz"))
    config = WithArrays("arrays", size=16, turns=2, batch=2, arrays=stored)
    batch = open_steps(config, PatchCodec(), NgramTextEncoder())[0]
    assert len(fingerprint(config)) == 16
    assert batch["latents"].shape == (2, 3, 8, 8, 16)
    assert batch["text"].any()


def test_the_part_has_a_table(load):
    part = load(2).PART
    scores = types.SimpleNamespace(
        success=np.ones((2, 1)), untouched_psnr=np.full((2, 1), 30.0)
    )
    numbers = part.numbers({"full": types.SimpleNamespace(scores=scores)})
    table = table_of({part.name: {"mine": numbers}}, [part.name])
    (block,) = part.blocks(table, "mine")
    assert "1.000 [1.000, 1.000]" in block and "30.0" in block
