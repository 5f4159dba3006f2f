"""Scripts for pods: shells and Kubernetes read them, and say what is missing."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml  # flax needs it

ROOT = Path(__file__).resolve().parents[2]
PODS = ROOT / "launch" / "pods"
SCRIPTS = sorted([*PODS.glob("*.sh"), *PODS.glob("*.sbatch")])
GKE = dict(
    RUN="first",
    BUCKET="my-runs",
    IMAGE="registry/image",
    ACCELERATOR="tpu-v5p-slice",
    TOPOLOGY="2x2x4",
    CHIP="v5p",
    HOSTS="4",
    CHIPS_PER_HOST="4",
)


def bash(*arguments, **variables):
    return subprocess.run(
        ["bash", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | variables,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_reads_it_and_a_missing_setting_is_named(script):
    assert bash("-n", script).returncode == 0
    started = bash(script, "train")
    assert started.returncode != 0
    assert "export " in started.stderr and started.stderr.count("\n") == 1


def manifest(*arguments, **changes):
    made = bash(PODS / "gke.sh", *arguments, **GKE, DRY_RUN="1", **changes)
    assert made.returncode == 0, made.stderr
    assert "${" not in made.stdout.replace("${...}", "")
    return yaml.safe_load(made.stdout)


def test_a_jobset_has_all_hosts_and_the_arguments_as_given():
    spec = manifest("--config", "it's a.py:steps=1", SLICES="2")["spec"]
    (slices,) = spec["replicatedJobs"]
    job = slices["template"]["spec"]
    assert slices["replicas"] == 2 and job["parallelism"] == job["completions"] == 4
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    shell, flag, script = container["command"]
    # Kubernetes makes $( of $$( ; `exec` is left out to see what would be run.
    script = script.replace("$$(", "$(").replace("exec python", "printf '[%s]'")
    said = bash(flag, f"python() {{ :; }}\n{script}")
    assert said.stdout.endswith("[--config][it's a.py:steps=1]"), said
    assert "[--hosts][auto][--workdir][/runs/first]" in said.stdout


def test_wrong_input_is_not_started_again_but_a_lost_host_is():
    spec = manifest("--config", "a.py")["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [1, 2, 4, 74])
    assert spec["failurePolicy"]["rules"][0]["action"] == "FailJobSet"
    assert spec["failurePolicy"]["maxRestarts"] == 100


def test_hosts_that_come_after_a_preemption_may_have_the_workdir(tmp_path):
    """A lock of a host that is gone belongs to an earlier attempt of the same run."""
    gcloud = tmp_path / "gcloud"
    gcloud.write_text('#!/usr/bin/env bash\necho "$*" >&2\n')
    gcloud.chmod(0o755)
    started = bash(
        PODS / "tpu_vm.sh", "train", "--config", "a.py",
        PATH=f"{tmp_path}:{os.environ['PATH']}", PROJECT="p", ZONE="z",
        TPU_NAME="first", TPU_TYPE="v5p-64", WORKDIR="/runs/first",
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    (line,) = [line for line in started.stderr.splitlines() if "ANCHOREDIT" in line]
    assert re.search(r"export ANCHOREDIT_JOB=first ANCHOREDIT_ATTEMPT=\d{10}$", line)
    assert started.stderr.index(line) < started.stderr.index("nohup")
