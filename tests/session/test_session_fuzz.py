"""Session files from strangers: what is read is sound, all else is refused in a line,
before anything is computed of it."""

import json
import types

import numpy as np
import pytest
from safetensors.numpy import save_file

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import PatchCodec
from anchoredit_jax.session import session_file
from tests.damage import damage_bytes, damage_value
from tests.session.editors import make_run

RECORD = {
    "format": session_file.FORMAT,
    "version": "0.1.0",
    "checkpoint": {"path": "/w", "weights": "ema", "digest": "ab", "lineage": "x@1"},
    "memory": {"sink": 1, "window": 2, "positions": "window_relative"},
    "max_turns": None,
    "sampler": {"kind": "few_step", "steps": 2, "guidance": 1.0, "negative": ""},
    "seed": 3,
    "crop": {"source": [20, 16], "box": [0, 2, 16, 18], "size": [16, 16]},
    "kept": 0.8,
    "turns": [{"instruction": "make it blue", "seed": 3}] * 2,
}
RECORD["turns"] = [dict(turn) for turn in RECORD["turns"]]


class StubEditor:
    """As much of an editor as `find_editor` asks; nothing is compiled."""

    run, codec = make_run(size=16), PatchCodec(2)
    lineage = types.SimpleNamespace(digest="ab")

    def with_settings(self, *settings):
        return settings


def saved(path, record=RECORD, **arrays):
    latents = np.random.default_rng(0).standard_normal((3, 8, 8, 16), np.float32)
    tensors = {"latents": latents, "source": np.zeros((16, 16, 3), np.uint8)} | arrays
    tensors = {name: value for name, value in tensors.items() if value is not None}
    save_file(tensors, path, {"session": json.dumps(record)})
    return path


def opened(path):
    """What is read, after all checks."""
    read = session_file.read(path)
    memory, sampler, _ = session_file.find_editor(path, read, StubEditor())
    assert memory.sink + (memory.window or 0) <= 2048 and sampler.steps <= 1000
    assert np.isfinite(read.latents).all() and np.isfinite(sampler.guidance)
    assert len(read.latents) == len(read.record.turns) + 1
    assert read.source.shape == (16, 16, 3)
    return read


def test_a_sound_file_is_read(tmp_path):
    assert opened(saved(tmp_path / "a")).record.seed == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"memory": {"window": 10**9}}, "session.memory.window must be in"),
        ({"sampler": {"steps": 10**9}}, "session.sampler.steps must be in"),
        ({"sampler": {"guidance": float("nan")}}, "guidance must be in .*given nan"),
        ({"seed": -1}, "session.seed must be in"),
        ({"max_turns": 10**9}, "session.max_turns must be in"),
        ({"checkpoint": {"path": 5, "weights": "ema"}}, "checkpoint.path.*given 5"),
        ({"turns": 5}, "session.turns.*expected a list"),
        (
            {"crop": {"source": [20, 16], "box": [0, 0, 0, 0], "size": [16, 16]}},
            r"crop.box must be .* in an image of 16 x 20 pixels, given \(0, 0, 0, 0\)",
        ),
        (
            {"crop": {"source": [20, 16], "box": [-1, 0, 9, 9], "size": [4, 4]}},
            r"session.crop.box must be .*given \(-1, 0, 9, 9\)",
        ),
        (
            {"crop": {"source": [10**9] * 2, "box": [0, 0, 9, 9], "size": [16, 16]}},
            "session.crop.source must be .*given",
        ),
        (
            {"crop": {"source": [20, 16], "box": [0, 0, 9, 9], "size": [0, 16]}},
            r"session.crop.size must be .*given \(0, 16\)",
        ),
    ],
)
def test_numbers_out_of_bounds_are_named(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        opened(saved(tmp_path / "a", {**RECORD, **changes}))


@pytest.mark.parametrize("record", [[], None, 5, "x", {}])
def test_records_of_other_kinds_are_refused(tmp_path, record):
    with pytest.raises(UserError, match="expected the format"):
        opened(saved(tmp_path / "a", record))


def test_a_record_that_is_too_deep_is_refused(tmp_path):
    path = tmp_path / "a"
    save_file({"latents": np.zeros(1)}, path, {"session": "[" * 100_000})
    with pytest.raises(UserError, match="not JSON"):
        opened(path)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"latents": np.zeros((3, 8, 8, 16), np.int32)}, "expected latents F32"),
        ({"latents": np.zeros((3, 8, 8, 16), np.float64)}, "expected latents F32"),
        ({"latents": np.zeros((2, 8, 8, 16), np.float32)}, r"latents F32 \[3"),
        ({"latents": np.zeros((3, 8, 8, 9), np.float32)}, r"\[8, 8, 16\], found"),
        ({"latents": np.zeros((3, 4, 8, 16), np.float32)}, r"\[8, 8, 16\], found"),
        ({"latents": None}, "expected latents F32"),
        ({"latents": np.full((3, 8, 8, 16), np.nan, np.float32)}, "not finite"),
        ({"source": np.zeros((16, 16), np.uint8)}, "expected a source"),
        ({"source": None}, "expected a source"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, said):
    with pytest.raises(UserError, match=said):
        opened(saved(tmp_path / "a", **arrays))


def test_damages_are_refused_or_do_not_matter(tmp_path):
    data = saved(tmp_path / "a").read_bytes()
    head = 8 + int.from_bytes(data[:8], "little")
    refused = 0
    for seed in range(200):
        path = tmp_path / "b"
        if seed % 2:
            saved(path, damage_value(RECORD, seed))
        else:
            part = slice(0, head) if seed % 4 else slice(0, None)
            path.write_bytes(
                damage_bytes(data[part], seed) + data[head:] * bool(seed % 4)
            )
        try:
            opened(path)
        except UserError as error:
            refused += 1
            assert len(str(error)) < 2000 and "\n" not in str(error)
    assert 100 < refused < 200


def test_a_name_that_no_disk_takes_is_no_session(tmp_path):
    for name in ("a" * 300, "a\0b"):
        with pytest.raises(UserError, match="does not exist"):
            session_file.read(tmp_path / name)
