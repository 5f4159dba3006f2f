"""The TFDS dataset holds what the endless source makes, without TensorFlow."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anchoredit_jax.data.batches import DataConfig, open_steps
from anchoredit_jax.data.config import RecordsConfig, SpritesConfig
from anchoredit_jax.data.kinds import open_stored_sprites
from anchoredit_jax.data.sprites import SpriteSource
from anchoredit_jax.data.sprites.records import build_sprites, open_sprites
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.models.text import NgramTextEncoder

SOURCE = SpriteSource(turns=3, seed=4, length=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_sprites(tmp_path_factory.mktemp("records"), SOURCE)


def test_records_are_those_of_the_source(folder):
    source, stored = SpriteSource(turns=3, seed=4), open_sprites(folder)
    assert len(stored) == 12
    for index in range(12):
        made, read = source[index], stored[index]
        assert read["images"].dtype == np.uint8
        assert (made["images"] == read["images"]).all()
        assert made["instructions"] == read["instructions"]
        assert read["answers"].dtype == bool
        assert (made["answers"] == read["answers"]).all()
        assert made["id"] == read["id"] == index
    assert list(folder.glob("*.array_record*"))


def test_batches_from_records_are_those_made_on_demand(folder):
    tools = PatchCodec(), NgramTextEncoder()
    made = DataConfig(
        turns=3, seed=4, batch=8, null_fraction=0.0, sprites=SpritesConfig(length=12)
    )
    read = DataConfig("records", turns=3, batch=8, records=RecordsConfig(str(folder)))
    for step in (0, 1, 2):  # past the end: the twelve again
        ours, theirs = (open_steps(c, *tools)[step] for c in (made, read))
        for name in ours:
            assert (ours[name] == theirs[name]).all(), name


def test_another_mixture_is_another_dataset(folder):
    root = folder.parents[2]
    assert build_sprites(root, SOURCE) == folder
    kept = SpriteSource(1, seed=4, size=16, weights={"keep": 1.0}, length=2)
    other = build_sprites(root, kept)
    assert other != folder
    record = open_sprites(other)[1]
    assert record["images"].shape == (2, 16, 16, 3)
    assert (record["images"][0] == record["images"][1]).all()


def test_records_of_an_older_version_are_refused(folder, tmp_path):
    old = shutil.copytree(folder, tmp_path / "1.0.0")
    described = json.loads((old / "features.json").read_text())
    del described["featuresDict"]["features"]["answers"]
    (old / "features.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="build them again"):
        open_sprites(old)


def test_wrong_records_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="no sprite records"):
        open_sprites(tmp_path)
    with pytest.raises(UserError, match="data.turns 2"):
        stored = RecordsConfig(str(folder))
        open_stored_sprites(DataConfig("records", turns=2, records=stored))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        build_sprites(tmp_path / "file", SOURCE)
    with pytest.raises(UserError, match="sessions must be"):
        SpriteSource(turns=1, length=0)
    with pytest.raises(UserError, match="remove"):
        SpriteSource(turns=1, weights={"remov": 1.0})
    with pytest.raises(UserError, match="only whole chains"):
        build_sprites(tmp_path, SpriteSource(turns=1, length=1, skip_turns=2))


def run_python(code: str, *arguments: str) -> int:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment).returncode


def test_records_need_no_tensorflow(tmp_path):
    code = """
import sys
from anchoredit_jax.data.sprites.records import build_sprites, open_sprites
from anchoredit_jax.data.sprites.source import SpriteSource
folder = build_sprites(sys.argv[1], SpriteSource(turns=1, seed=4, length=2))
assert open_sprites(folder)[1]["images"].shape == (2, 32, 32, 3)
assert "tensorflow" not in sys.modules
"""
    assert run_python(code, str(tmp_path)) == 0


def test_sprites_load_neither_tfds_nor_jax():
    code = """
import sys
import anchoredit_jax.data.sprites
assert not {"tensorflow_datasets", "grain", "jax"} & set(sys.modules)
"""
    assert run_python(code) == 0
