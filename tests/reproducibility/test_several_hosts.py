"""Row 52 of the user reports: the certificate is of the whole batch, however many hosts
make it, and stays the same when their number changes in the middle of a run."""

import numpy as np
import pytest

from anchoredit_jax import files
from anchoredit_jax.reproducibility import compare, read
from tests.launch.host_processes import start_processes, wait_for

BATCH = 8
FAKE = f"""
from ml_collections import ConfigDict
from anchoredit_jax.config import override, parse_arg
from anchoredit_jax.stages.table import STAGES
from tests.training.fake_stages import add_fake_stages, make_run

add_fake_stages(STAGES)


def get_config(arg=None):
    config = ConfigDict(make_run("fake_first", "data.batch={BATCH}").to_dict())
    config.mesh.fsdp = 8
    return override(config, parse_arg(arg, {{}})[1])
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


def run(workdir, config, processes):
    started = start_processes(
        "launch/reproduce.py",
        ["run", "--quiet", "--config", config, "--workdir", workdir],
        processes,
        8 // processes,
    )
    results = wait_for(started)
    assert [code for code, _, _ in results] == [0] * processes, results
    spoke = ["fake_first: step" in said for _, said, _ in results]
    assert spoke == [True, *[False] * (processes - 1)]
    return read(workdir / "fake_first")


def test_two_hosts_and_then_one_certify_what_one_does(config, tmp_path):
    alone = run(tmp_path / "alone", config, 1)
    changed = f"{config}:loop.steps=6"
    half = run(tmp_path / "changed", changed, 2)
    assert [row.step for row in half.rows] == list(range(1, 7))
    whole = run(tmp_path / "changed", config, 1)
    for ours, theirs in zip(whole.rows, alone.rows, strict=True):
        assert (ours.ids, ours.data, ours.draws) == (
            theirs.ids,
            theirs.data,
            theirs.draws,
        )
        first = BATCH * (ours.step - 1)  # every sample once, in order
        samples = np.arange(first, first + BATCH, dtype=np.uint32)
        assert ours.ids == files.blake2b(samples.tobytes())
    comparison = compare(alone, whole)
    assert comparison.loss < 1e-5
    assert "environment: processes: 1 | 2, then 1" in comparison.causes
    assert [segment.first for segment in whole.segments] == [1, 7]
