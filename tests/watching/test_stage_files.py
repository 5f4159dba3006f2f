import json

import numpy as np

from anchoredit_jax.training.metrics_log import scan_metrics
from anchoredit_jax.watching.stage_files import read_stage
from tests.damage import damage_bytes, damage_value
from tests.watching.made_up import save_checkpoint, write_rows, write_sheet


def test_rows_become_curves_and_a_later_row_of_a_step_counts(tmp_path):
    rows = [
        {"step": 2, "loss": 2.0},
        {"step": 4, "loss": 1.0},
        {"step": 4, "held_out/ema/loss": 1.5},
        {"step": 2, "loss": 3},
    ]
    write_rows(tmp_path, rows)
    stage = read_stage(tmp_path)
    np.testing.assert_array_equal(stage.curves["loss"].steps, [2, 4])
    np.testing.assert_array_equal(stage.curves["loss"].values, [3.0, 1.0])
    assert stage.latest("held_out/ema/loss") == 1.5 and stage.latest("mfu") is None
    assert (stage.step, stage.rows, stage.faults) == (4, 4, ())


def test_bad_lines_and_values_are_counted_and_hide_nothing(tmp_path):
    path = write_rows(tmp_path, [{"step": 2, "loss": 1.0}])
    odd = {
        "nan": float("nan"),
        "word": "x",
        "none": None,
        "yes": True,
        "large": 10**400,
    }
    with path.open("ab") as file:
        file.write(b'{"step": 3, "lo\n\x00\x00\nNaN\n{"loss": 1}\n')
        file.write(json.dumps({"step": 4, "loss": 0.5, **odd}).encode() + b"\n")
        file.write(b'{"step": 1' + b"0" * 30 + b', "loss": 1}\n{"step": 6, "los')
    stage = read_stage(tmp_path)
    np.testing.assert_array_equal(stage.curves["loss"].steps, [2, 4])
    assert set(stage.curves) == {"loss"}
    lines, values = stage.faults
    assert lines == "metrics.jsonl: 5 lines left out, no row in them"
    assert "6 values left out that are no finite number" in values


def test_damaged_rows_are_counted_and_the_others_are_read(tmp_path):
    """200 damages of bytes and of values: no line that is whole is lost by another."""
    rows = [{"step": step, "loss": step / 7} for step in range(1, 21)]
    path = write_rows(tmp_path, rows)
    written = path.read_bytes()
    untouched = written.splitlines()
    told = 0
    for seed in range(200):
        if seed % 2:
            damaged = [damage_value(row, seed + at) for at, row in enumerate(rows[:3])]
            text = "".join(json.dumps(row) + "\n" for row in damaged + rows[3:])
            path.write_bytes(text.encode())
        else:
            path.write_bytes(damage_bytes(written, seed // 2))
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
        whole = [json.loads(line) for line in lines if line in untouched]
        found, left_out = scan_metrics(path)
        assert [row for row in whole if row not in found] == []
        assert len(found) + left_out == len(lines)
        stage = read_stage(tmp_path)
        assert stage.rows == len(found)
        assert not left_out or "no row in them" in stage.faults[0]
        told += bool(stage.faults)
    assert 100 < told < 200


def test_the_last_committed_step_tells_lineage_and_changes(tmp_path):
    folder = tmp_path / "causal_forcing"
    parent = save_checkpoint(tmp_path / "single_turn", 8)
    change = {"step": 3, "settings": {"optimizer.learning_rate": [0.1, 0.2]}}
    save_checkpoint(folder, 4, parent, changes=[change])
    (folder / "checkpoints" / "9").mkdir()  # a save that goes on, or was cut off
    stage = read_stage(folder)
    assert (stage.saved, stage.faults) == (4, ())
    assert (stage.parent.stage, stage.parent.step) == ("single_turn", 8)
    assert stage.parent.digest == parent.digest
    assert stage.changes[0].step == 3
    assert stage.changes[0].settings == {"optimizer.learning_rate": (0.1, 0.2)}
    assert stage.steps == 10  # of its configuration, though config.json is not there
    # What was saved before changes were kept.
    before = read_stage(tmp_path / "single_turn")
    assert (before.saved, before.parent, before.changes) == (8, None, ())


def test_what_cannot_be_read_is_told(tmp_path):
    save_checkpoint(tmp_path, 4, changes=[{"step": 3}], parent={"stage": "x"})
    (tmp_path / "config.json").write_text('{"loop": ')
    write_sheet(tmp_path, 12, (9, 9, 9)).with_name("best.png").write_bytes(b"")
    stage = read_stage(tmp_path)
    assert list(stage.sheets) == [12]
    for fault, said in zip(
        stage.faults,
        ("lineage", "config.json cannot be read", "changes of settings", "best.png"),
        strict=True,
    ):
        assert said in fault
