"""Plans through the TPU's compiler, on a machine without a TPU; skipped without libtpu.

The 14B lines take an hour: `bash launch/test.sh -m pod`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax.planning import jobs_of, markdown, read_rows, short_table
from configs import wan

ROOT = Path(__file__).resolve().parents[2]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed: pip install 'anchoredit_jax[tpu]'",
)
# Heads of 128 channels, as the kernel wants them; 256 tokens a frame.
TINY = {
    "pod": "v5e:4x4", "model.num_layers": 2, "model.dim": 256, "model.num_heads": 2,
    "model.ffn_dim": 512, "text.length": 128, "data.size": 256,
}  # fmt: skip


def tiny(**changes):
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    pairs = {**TINY, **changes}.items()
    return "configs/wan_1_3b.py:" + ",".join(f"{key}={value}" for key, value in pairs)


def plan(*arguments):
    # A second libtpu of this machine (a run on its TPU, another test) is no hindrance.
    environment = {**os.environ, "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    environment.pop("XLA_FLAGS", None)
    return subprocess.run(
        [sys.executable, "launch/plan.py", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def one_row(tmp_path, *arguments):
    out = tmp_path / "plan.json"
    done = plan(*arguments, "--out", str(out))
    assert done.returncode == 0, done.stderr
    (row,) = read_rows(out)
    return row


@needs_libtpu
@pytest.mark.tpu
@pytest.mark.parametrize(
    ("stage", "mesh"),
    [
        pytest.param("causal_forcing", "fsdp=2,context=2", marks=pytest.mark.slow),
        # At this size prompts, which context does not split, are much of the work.
        pytest.param("consistency", "fsdp=4", marks=pytest.mark.long),
        pytest.param("distribution_matching", "fsdp=4", marks=pytest.mark.long),
    ],
)
def test_a_small_step_fits_and_agrees_with_the_formula(tmp_path, stage, mesh):
    """Row 55 of the user reports, its good half: memory and work before the pod."""
    row = one_row(
        tmp_path,
        *("--config", tiny(stage=stage, data__batch=4)),
        *("--topology", "v5e:2x2", "--mesh", mesh),
    )
    assert row["fits"] and row["peak"] < 1 and row["chips"] == 4
    assert row["memory"]["parameters"] > 0
    assert 0.9 < row["agreement"] < 1.1
    assert row["attention_share"] < 0.6 or stage != "causal_forcing"
    if "context" in mesh:
        assert row["collective_bytes"]["all-to-all"] > 0
    assert row["predicted_seconds"] == max(row["seconds"].values()) > 0
    assert row["serial_seconds"] == sum(row["seconds"].values())
    assert 0 <= row["hidden_bytes"] <= sum(row["collective_bytes"].values())


@needs_libtpu
@pytest.mark.tpu
@pytest.mark.parametrize(
    "topology",
    [
        pytest.param("v5p:2x2x1", marks=pytest.mark.slow),
        pytest.param("v6e:2x2", marks=pytest.mark.long),
    ],
)
def test_each_sample_has_its_memory_on_the_chips_of_pods(tmp_path, topology):
    """What is planned is the step of a sample with the full history, and no more."""
    policies = "[[0,0],[0,2],[1,2],[1,1]]"
    step = tiny(
        stage="causal_forcing", data__batch=4, options__memory_policies=policies
    )
    row = one_row(
        tmp_path,
        *("--config", step, "--topology", topology, "--mesh", "fsdp=2,context=2"),
    )
    assert row["fits"] and 0.9 < row["agreement"] < 1.1
    assert row["compiled_attention_share"] == row["attention_share"]
    assert row["mean_flops"] < row["model_flops"]


@needs_libtpu
@pytest.mark.tpu
@pytest.mark.slow
def test_the_worst_bucket_is_planned_beside_the_square(tmp_path):
    out = tmp_path / "plan.json"
    # Two patches a step: frames that context divides.
    of_buckets = dict(
        stage="single_turn", data__batch=4, data__sessions__buckets__step=32
    )
    done = plan(
        *("--config", tiny(**of_buckets)),
        *("--topology", "v5e:2x2", "--mesh", "fsdp=2,context=2"),
        *("--buckets", "square,worst", "--out", str(out)),
    )
    assert done.returncode == 0, done.stderr
    square, worst = read_rows(out)
    assert square["sides"] == [256, 256] and square["bucket"] == "square"
    assert worst["sides"] != [256, 256] and worst["bucket"] == "worst"
    assert worst["tokens"] < square["tokens"] and "(worst)" in done.stdout


@needs_libtpu
@pytest.mark.tpu
def test_a_small_turn_fits_and_agrees_with_the_formula(tmp_path):
    row = one_row(
        tmp_path,
        *("--config", tiny(stage="causal_forcing"), "--turn"),
        *("--topology", "v5e:2x2", "--mesh", "tensor=2,context=2"),
    )
    assert row["program"] == "turn" and row["fits"]
    assert 0.9 < row["agreement"] < 1.1


@needs_libtpu
@pytest.mark.tpu
def test_slices_are_joined_by_their_own_network(tmp_path):
    row = one_row(
        tmp_path,
        *("--config", tiny(stage="single_turn", data__batch=4)),
        *("--topology", "v5e:2x2", "--mesh", "slices=2,data=2,fsdp=2,context=2"),
    )
    assert row["chips"] == 8 and row["mesh"] == dict(data=2, fsdp=2, context=2)
    assert row["seconds"]["slices"] > 0 and 0.9 < row["agreement"] < 1.1


@needs_libtpu
@pytest.mark.tpu
def test_what_does_not_fit_is_told_with_what_is_missing(tmp_path):
    """Row 55 of the user reports: out of memory is found here, not on the pod."""
    out = tmp_path / "plan.json"
    large = tiny(stage="single_turn", data__batch=4, model__ffn_dim=4194304)
    done = plan(
        *("--config", large, "--topology", "v5e:2x2", "--mesh", "fsdp=4"),
        *("--out", str(out)),
    )
    assert done.returncode == 1, done.stderr
    (row,) = read_rows(out)
    assert not row["fits"] and row["missing"] > 0
    assert "does not fit" in done.stdout and "GiB a chip are missing" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --config and --topology, or --all"),
        (["--config", tiny(), "--topology", "v5p"], "expected a chip and its grid"),
        (
            ["--config", tiny(), "--topology", "v5e:2x2", "--mesh", "fsdp"],
            "expected axis=number, given 'fsdp'",
        ),
        (
            ["--config", tiny(), "--topology", "v5e:2x2", "--mesh", "fdsp=2"],
            "did you mean 'fsdp'",
        ),
        (["--all", "--buckets", "best"], "'best' is not one of square, worst"),
        (["--all", "--only", "nothing"], "--only 'nothing' is part of no line's name"),
        (["--all", "--sizes", "15b"], "size '15b' is not one of 14b, 1_3b"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # as the script does when it is loaded
    from launch import plan as script

    with pytest.raises(SystemExit) as stop:
        script.main(arguments)
    said = capsys.readouterr().err
    assert stop.value.code == 2 and message in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v9:2x2"], "unknown chip; known: v5e"),
        pytest.param(
            ["v5e:2x2", "--mesh", "tensor=2,data=1"],
            "leaves 2 of v5e:2x2 without work",
            marks=needs_libtpu,
        ),
    ],
)
def test_chips_that_cannot_be_used_are_one_line(arguments, message):
    done = plan("--config", tiny(), "--topology", *arguments)
    assert done.returncode == 2 and message in done.stderr
    assert "Traceback" not in done.stderr


@needs_libtpu
@pytest.mark.tpu
@pytest.mark.long
def test_the_1_3b_step_fits_one_topology(tmp_path):
    row = one_row(
        tmp_path,
        *("--config", "configs/wan_1_3b.py:stage=causal_forcing"),
        *("--topology", "v5e:4x4"),
    )
    assert row["fits"] and 0.9 < row["agreement"] < 1.1
    assert row["compiled_attention_share"] <= 0.6


@needs_libtpu
@pytest.mark.tpu
@pytest.mark.pod
@pytest.mark.parametrize(
    "job", jobs_of("14b", ROOT / "configs"), ids=lambda job: job.name
)
def test_14b_fits(tmp_path, job):
    out = tmp_path / "plan.json"
    done = plan(
        *("--all", "--sizes", "14b", "--only", job.name),
        *("--out", str(out)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_rows(out)
    assert row["fits"] and 0.9 < row["agreement"] < 1.1


def test_the_pages_show_the_recorded_plan():
    rows = read_rows(ROOT / "docs" / "plan_14b.json")
    jobs = {(j.size, j.program, j.topology) for j in jobs_of("14b", ROOT / "configs")}
    assert {(r["size"], r["program"], r["topology"]) for r in rows} == jobs
    assert short_table(rows) in (ROOT / "docs" / "pods.md").read_text()
    assert all(row["fits"] for row in rows)
    assert all(0.9 < row["agreement"] < 1.1 for row in rows)
    for row in rows:
        if row["program"] == "causal_forcing":
            assert row["compiled_attention_share"] == row["attention_share"] <= 0.6


def test_the_pages_add_up_what_14b_costs():
    pods = (ROOT / "docs" / "pods.md").read_text()
    rows = read_rows(ROOT / "docs" / "plan_14b.json")
    hours = {
        topology: {
            stage: steps * row["predicted_seconds"] / 3600
            for stage, steps in wan.STEPS.items()
            for row in rows
            if (row["program"], row["topology"]) == (stage, topology)
            and row["bucket"] == "square"
        }
        for topology in ("v5p:4x4x4", "v6e:16x16")
    }
    v5p, v6e = hours.values()
    for stage, steps in wan.STEPS.items():
        line = f"| {stage} | {steps:,} | {v5p[stage]:.1f} | {v6e[stage]:.1f} |"
        assert line in pods
    for told, chips in ((v5p, 64), (v6e, 256)):
        total = sum(told.values())
        assert f"{total:.1f}, or {chips * total:,.0f} chip-hours" in pods
    for page in ("README.md", "docs/train.md"):
        told = f"at least {int(sum(v5p.values()))} hours"
        assert told in (ROOT / page).read_text()


def test_the_page_is_made_of_the_recorded_plan():
    report = json.loads((ROOT / "docs" / "plan_14b.json").read_text())
    assert report["versions"]
    assert markdown(report) == (ROOT / "docs" / "plan_14b.md").read_text()
