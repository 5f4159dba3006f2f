"""Every kind of difference is named, with its size; causes come first."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.reproducibility import KINDS, compare, describe, write
from anchoredit_jax.reproducibility.certificate import Segment, from_bits, to_bits
from tests.reproducibility.certified import certificate, first_difference

ROOT = Path(__file__).resolve().parents[2]


def with_row(step, **changes):
    rows = [
        dataclasses.replace(row, **changes) if row.step == step else row
        for row in certificate().rows
    ]
    return certificate(rows=tuple(rows))


def metrics(loss=1.5, grad_norm=0.25):
    return {"loss": to_bits(loss), "grad_norm": to_bits(grad_norm)}


def next_up(value):
    return from_bits(f"{int(to_bits(value), 16) + 1:08x}")


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (with_row(2, ids="j"), (2, "data", "ids")),
        (with_row(1, data="e"), (1, "data", "data")),
        (with_row(3, draws="l"), (3, "draws", "draws")),
        (with_row(2, metrics=metrics(loss=1.25)), (2, "loss", "loss")),
        (with_row(2, metrics=metrics(grad_norm=1)), (2, "gradients", "grad_norm")),
        (
            certificate(checkpoints={2: {"params/w": "ac", "opt_state/mu/w": "bb"}}),
            (2, "parameters", "params/w"),
        ),
        (
            certificate(checkpoints={2: {"opt_state/mu/w": "bb"}}),
            (2, "parameters", "params/w"),
        ),
        (certificate(), None),
    ],
)
def test_what_differs_first_is_named(changed, found):
    assert first_difference(certificate(), changed) == found
    assert first_difference(changed, certificate()) == found


def test_causes_stand_before_effects():
    changed = with_row(2, metrics=metrics(2.0, 1.0), draws="l", data="e")
    kinds = [d.kind for d in compare(certificate(), changed).first]
    assert kinds == ["data", "draws", "loss", "gradients"]
    assert kinds == sorted(kinds, key=KINDS.index)


def test_the_size_of_a_difference_is_told():
    changed = with_row(2, metrics=metrics(loss=next_up(1.5)))
    comparison = compare(certificate(), changed)
    (difference,) = comparison.first
    assert difference.ulps == 1
    assert difference.absolute == pytest.approx(2.0**-23)
    assert comparison.loss == difference.relative == pytest.approx(2.0**-23 / 1.5)
    text = "\n".join(describe(comparison))
    assert "differs first at step 2: loss (loss)" in text
    assert "1.19e-07 absolute, 7.95e-08 relative, 1 ulp" in text
    assert "data and draws are equal" in text


def test_numbers_on_both_sides_of_zero_are_as_far_apart_as_they_are():
    left = with_row(1, metrics=metrics(grad_norm=1e-45))
    right = with_row(1, metrics=metrics(grad_norm=-1e-45))
    (difference,) = compare(left, right).first
    assert difference.ulps == 2


def test_a_number_that_is_none_has_no_ulps():
    nan = with_row(1, metrics=metrics(loss=float("nan")))
    (difference,) = compare(certificate(), nan).first
    assert difference.kind == "loss" and difference.ulps is None
    assert compare(nan, nan).equal


def test_arrays_show_how_far_apart_they_are_where_that_is_known():
    changed = certificate(checkpoints={2: {"params/w": "ac", "opt_state/mu/w": "bb"}})
    comparison = compare(certificate(), changed)
    text = "\n".join(describe(comparison, {"params/w": "1 of 4 elements, 1 ulp"}))
    assert "parameters: params/w: aa | ac: 1 of 4 elements, 1 ulp" in text


def test_what_the_runs_were_made_of_is_listed_first():
    segments = (
        Segment(1, {"jax": "0.10.2", "XLA_FLAGS": ""}),
        Segment(3, {"jax": "0.11.0", "XLA_FLAGS": ""}),
    )
    config = {"seed": 1, "loop": {"steps": 9}, "data": {"batch": 2}}
    parent = {"stage": "single_turn", "step": 4, "digest": "ab"}
    other = certificate(segments=segments, config=config, dataset="g", parent=parent)
    comparison = compare(certificate(), other)
    assert comparison.causes == (
        "environment: jax: 0.10.2 | 0.10.2, then 0.11.0",
        "config: seed: 0 | 1",
        "dataset: f | g",
        "parent: none | single_turn@4 (ab)",
    )
    lines = describe(comparison)
    assert lines[:4] == list(comparison.causes)
    assert lines[4].startswith("bit-equal: 3 steps, 2 arrays of the state at step 2")


def test_only_steps_of_both_are_compared():
    shorter = certificate().between(0, 1)
    comparison = compare(certificate(), shorter)
    assert (comparison.steps, comparison.checkpoints) == (1, ())
    with pytest.raises(UserError, match="one has 1 to 1, the other 2 to 3"):
        compare(shorter, certificate().between(1, 3))
    with pytest.raises(UserError, match="two stages, single_turn and consistency"):
        compare(shorter, certificate(stage="consistency"))


def test_certificates_are_compared_where_there_is_no_jax():
    code = "import sys; sys.modules['jax'] = None; "
    code += "import anchoredit_jax.reproducibility"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_script_compares_without_asking_for_devices(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    changed = with_row(2, data="e")
    for path, made in zip(paths, (certificate(), certificate(), changed), strict=True):
        path.mkdir()
        write(path / "certificate.json", made)

    def compared(*arguments):
        command = [sys.executable, "launch/reproduce.py", "compare", *arguments]
        done = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "none"},  # asking would raise
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    code, said, errors = compared(paths[0], paths[1])
    assert (code, said.startswith("bit-equal: 3 steps")) == (0, True), errors
    code, said, _ = compared(paths[0], paths[2] / "certificate.json")
    assert code == 1 and "differs first at step 2: data (data)" in said
    code, said, errors = compared(paths[0], tmp_path / "none")
    assert code == 2 and said == ""
    assert errors.startswith("error: no certificate") and errors.count("\n") == 1
