"""Tables of plans: what stands in them, and which lines a file keeps."""

import json
import math

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.planning import details, markdown, read_rows, table, write_rows
from tests.planning.rows import make_row

NOTHING = dict(
    compiled_flops=math.nan, compiled_attention_share=math.nan, hbm_bytes=math.nan,
    host_bytes=math.nan, hidden_bytes=math.nan, collective_bytes={}, seconds={},
    peak=20.0, hbm=15.75, missing=4.25, topology="v5e:16x16",
)  # fmt: skip


def test_what_follows_from_a_line():
    row = make_row()
    assert row.fits and row.bound == "compute" and row.predicted_seconds == 2.9
    assert row.serial_seconds == pytest.approx(2.9 + 0.7 + 0.5)
    assert math.isnan(make_row(**NOTHING).serial_seconds)
    assert row.agreement == pytest.approx(1.05)
    peak = 64 * 459e12
    assert row.predicted_mfu == pytest.approx(6e16 / (2.9 * peak))
    assert not make_row(peak=96.0).fits
    assert not make_row(**NOTHING).fits


def test_one_line_a_program():
    lines = table([make_row().to_dict(), make_row(**NOTHING).to_dict()]).splitlines()
    assert len(lines) == 4
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == [
        "causal_forcing", "1024 x 1024", "v5p:4x4x4 (64)",
        "fsdp 16 x context 4", "16", "block",
        "13.5", "95.7", "60", "1.05", "0.58", "2.9", "compute", "4.1", "0.70",
    ]  # fmt: skip
    assert "does not fit: 4.2 missing" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_details_tell_memory_by_part_and_every_bound():
    text = "\n".join(details(make_row(note="also tried: x")))
    assert "parameters 1.00, optimizer 2.00" in text
    assert "links 0.5" in text and "also tried: x" in text
    assert "4.25 GiB a chip are missing" in "\n".join(details(make_row(**NOTHING)))


def test_what_is_hidden_is_told_apart_and_a_dash_where_nobody_counted():
    earlier = make_row(program="turn").to_dict()
    del earlier["hidden_bytes"]
    not_counted = {**make_row(program="consistency").to_dict(), "hidden_bytes": None}
    rows = [make_row().to_dict(), earlier, not_counted]
    text = markdown({"rows": rows, "versions": "jax 1"})
    work = text.partition("## Work of a chip")[2].splitlines()
    header, _, *lines = [line for line in work if line.startswith("|")]
    names = [cell.strip() for cell in header.strip("|").split("|")]
    at = slice(names.index("hidden GB"), names.index("alone GB") + 1)
    cells = [[c.strip() for c in line.strip("|").split("|")][at] for line in lines]
    assert cells == [["100.0", "300.0"], ["—", "—"], ["—", "—"]]


def test_a_new_line_replaces_that_of_the_same_program(tmp_path):
    path = tmp_path / "docs" / "plan.json"
    write_rows(path, [make_row(), make_row(**NOTHING)], "jax 1")
    write_rows(path, [make_row(peak=20.0), make_row(program="turn")], "jax 2")
    rows = read_rows(path)
    assert [(row["program"], row["topology"], row["peak"]) for row in rows] == [
        ("causal_forcing", "v5p:4x4x4", 20.0),
        ("causal_forcing", "v5e:16x16", 20.0),
        ("turn", "v5p:4x4x4", 13.5),
    ]
    text = path.with_suffix(".md").read_text()
    assert "jax 2" in text and "Predictions, not measurements" in text
    assert text == markdown(json.loads(path.read_text()))
    assert [p.name for p in sorted(path.parent.iterdir())] == ["plan.json", "plan.md"]


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{"size": 1}]}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is not a report of launch/plan.py"):
        write_rows(path, [make_row()], "jax")
    assert path.read_text() == text
