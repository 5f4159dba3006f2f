"""The file: what is written is read back, and nothing else is."""

import dataclasses
import json
import math

import pytest

from anchoredit_jax.config import deciding_values
from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel import MeshConfig
from anchoredit_jax.reproducibility import compare, read, write
from anchoredit_jax.reproducibility.certificate import (
    digest_config,
    from_bits,
    to_bits,
)
from tests.damage import damage_bytes, damage_value
from tests.reproducibility.certified import certificate
from tests.training.fake_stages import make_run


def test_a_certificate_is_read_as_it_was_written(tmp_path):
    path, made = tmp_path / "certificate.json", certificate()
    write(path, made)
    assert read(path) == read(tmp_path) == made
    steps = [line for line in path.read_text().splitlines() if '"step": ' in line]
    assert len(steps) == 3  # a line each: a diff of two files shows the step
    assert list(tmp_path.iterdir()) == [path]


def test_a_certificate_without_rows_is_one(tmp_path):
    made = certificate(rows=(), checkpoints={})
    write(tmp_path / "certificate.json", made)
    assert read(tmp_path) == made


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, 3.4e38, 1e-45, math.inf, -2.0])
def test_bits_hold_the_number(value):
    bits = to_bits(value)
    assert len(bits) == 8
    assert math.copysign(1, from_bits(bits)) == math.copysign(1, value)
    assert from_bits(bits) == pytest.approx(value, rel=1e-7)


def test_zeros_of_both_signs_have_other_bits():
    assert to_bits(0.0) != to_bits(-0.0)


@pytest.mark.usefixtures("fake_stages")
def test_lengths_mesh_and_workers_are_not_in_the_digest_of_a_configuration():
    def digest(arg, **sections):
        run = make_run("fake_first", arg).replace(**sections)
        return digest_config(deciding_values(run))

    same = digest("loop.steps=3,data.workers=1", mesh=MeshConfig(fsdp=2))
    assert same == digest("")
    assert digest("data.seed=1") != digest("")
    assert digest("optimizer.learning_rate=0.5") != digest("")


def test_a_part_is_cut_out_of_rows_and_checkpoints():
    part = certificate().between(1, 2)
    assert [row.step for row in part.rows] == [2] and list(part.checkpoints) == [2]
    assert certificate().between(2, 3).checkpoints == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is damaged"),
        ("[]", "expected a JSON object"),
        ('{"format": "other/1"}', "found 'other/1'"),
        (
            '{"format": "anchoredit_jax.certificate/1"}',
            "is damaged: .*stage' is missing",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, text, said):
    path = tmp_path / "certificate.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read(path)
    with pytest.raises(UserError, match="no certificate .*/none'"):
        read(tmp_path / "none")


def test_a_row_with_an_unknown_field_is_refused(tmp_path):
    path = tmp_path / "certificate.json"
    write(path, certificate())
    values = json.loads(path.read_text())
    values["rows"][0]["more"] = 1
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match="damaged"):
        read(path)
    assert dataclasses.asdict(certificate())["rows"][0].keys() == {
        "step", "ids", "data", "draws", "metrics",
    }  # fmt: skip


def test_damages_are_refused_or_can_be_compared(tmp_path):
    path, made = tmp_path / "certificate.json", certificate()
    parent = {"stage": "single_turn", "step": 3, "digest": "ab"}
    write(path, dataclasses.replace(made, parent=parent))
    data, refused = path.read_bytes(), 0
    for seed in range(200):
        if seed % 2:
            path.write_text(json.dumps(damage_value(json.loads(data), seed)))
        else:
            path.write_bytes(damage_bytes(data, seed))
        try:
            compare(read(path), made)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 100 < refused < 200


def test_an_edited_certificate_is_refused_and_a_former_one_is_read(tmp_path):
    path = tmp_path / "certificate.json"
    write(path, certificate())
    whole = json.loads(path.read_text())
    for name, value in (("rows", []), ("dataset", "g"), ("digest", "0"), ("every", 2)):
        path.write_text(json.dumps(whole | {name: value}))
        with pytest.raises(UserError, match="was edited or is damaged"):
            read(path)
    former = whole | {"format": "anchoredit_jax.certificate/1"}
    del former["digest"]
    path.write_text(json.dumps(former))
    assert read(path) == certificate()


def test_nothing_is_not_equal_to_nothing(tmp_path):
    for left, right in (
        (certificate(rows=()), certificate(rows=())),  # a row of each step was due
        (certificate(rows=()), certificate()),
        (certificate(every=9, rows=(), checkpoints={2: {}}),) * 2,
    ):
        with pytest.raises(UserError, match="there is nothing to compare"):
            compare(left, right)
    arrays_alone = certificate(every=9, rows=())
    assert compare(arrays_alone, arrays_alone).arrays == 2
    empty = dataclasses.replace(certificate().rows[0], metrics={})
    write(tmp_path / "certificate.json", certificate(rows=(empty,)))
    with pytest.raises(UserError, match="the row of step 1 has no metrics"):
        read(tmp_path)
