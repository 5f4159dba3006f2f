"""A session that a machine cannot hold is refused before anything is allocated."""

import json
import subprocess
import sys

import numpy as np
import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.session import capacity
from anchoredit_jax.session.loaded_model import SHIPPED
from tests.session.editors import SOURCE

# What a stranger stores in the configuration of weights; each is refused in a line, by
# a process that may take 8 GB. Without that, each is ended by the kernel.
STRANGE = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
import numpy as np
from anchoredit_jax.checkpoint import load_weights, save_bundle
from anchoredit_jax.config import run_from_json
from anchoredit_jax.errors import UserError
from anchoredit_jax.session import load_editor

weights = load_weights(sys.argv[1])
stored = weights.run.to_json()
for section, name, value in json.loads(sys.argv[3]):
    values = json.loads(stored)
    values[section][name] = value
    try:
        run = run_from_json(json.dumps(values))
        save_bundle(sys.argv[2], weights.params, run, weights.lineage)
        load_editor(sys.argv[2]).start(np.zeros((64, 64, 3), np.uint8))
    except UserError as error:
        print(f"{section}.{name}: {str(error).splitlines()}")
    else:
        print(f"{section}.{name}: taken")
"""


def test_what_does_not_fit_is_told_with_what_it_needs(editor, monkeypatch):
    least = capacity.least_bytes(editor, (16, 16))
    model, unit = editor.run.model, editor.run.codec.stride * editor.run.model.patch
    frame = (16 // unit) ** 2 * model.dim * model.num_layers * 2
    kept = editor.memory.sink + editor.memory.window
    assert least >= 4 * kept * frame
    monkeypatch.setattr(capacity, "_bytes_there", lambda: least - 1)
    said = r"16 x 16 pixels that remembers \d+ frames needs at least .*--window"
    with pytest.raises(UserError, match=said):
        editor.start(SOURCE)
    monkeypatch.setattr(capacity, "_bytes_there", lambda: least)
    assert np.asarray(editor.start(SOURCE).image).size


@pytest.mark.slow
def test_strange_configurations_are_refused_in_little_memory(tmp_path):
    asked = [
        ["data", "size", 100_000], ["data", "size", 8944], ["memory", "window", 10**9],
        ["text", "length", 65536], ["codec", "stride", 10**6],
        ["model", "num_layers", 10**9], ["sampler", "steps", 10**9],
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", STRANGE, str(SHIPPED), str(tmp_path), json.dumps(asked)],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(asked) and not any("taken" in line for line in lines)
    assert all(line.count("', '") == 0 for line in lines), lines  # a line each
