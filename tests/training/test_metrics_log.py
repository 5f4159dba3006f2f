import json
import pickle
import time

from PIL import Image

from anchoredit_jax.training.metrics_log import (
    MetricsLog,
    count_step,
    progress_bar,
    read_metrics,
    scan_metrics,
)
from anchoredit_jax.training.wandb_run import WandbRun

BAD_LINES = (
    b'{"step": 3, "lo',
    b"\0\0\0\0",
    b"\xff\xfe",
    b"NaN",
    b"7",
    b"[1, 2]",
    b"[" * 100_000,
    b'{"loss": 1.0}',
    b'{"step": null}',
    b'{"step": "3"}',
    b'{"step": true}',
    b'{"step": NaN}',
    b'{"step": 2.5}',
    b'{"step": -1}',
    b'{"step": "\\ud800"}',
    b'{"step": ' + b"9" * 5000 + b"}",  # more digits than Python reads
    pickle.dumps({"step": 3}, protocol=0).replace(b"\n", b" "),
    pickle.dumps({"step": 3}).replace(b"\n", b" "),
)


def test_rows_are_on_disk_at_once_and_on_the_board(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(2, {"loss": 0.5, "norm": 1.0})
        assert read_metrics(tmp_path / "metrics.jsonl") == [
            {"step": 2, "loss": 0.5, "norm": 1.0}
        ]
    events = list((tmp_path / "tensorboard").iterdir())
    assert len(events) == 1 and events[0].stat().st_size > 0


def test_appending_keeps_what_came_before_and_drops_what_comes_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "loss": 1.0} for step in (2, 4, 6, 8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 1')
    with MetricsLog(tmp_path, 4) as log:
        log.write(6, {"loss": 2.0})
    assert read_metrics(path) == [*rows[:2], {"step": 6, "loss": 2.0}]
    assert not list(tmp_path.glob("*partial"))


def test_lines_that_hold_no_row_are_counted_and_hide_none_behind_them(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first, last = {"step": 2, "loss": 1.0}, {"step": 4, "held_out/ema/loss": 0.5}
    lines = [json.dumps(first).encode(), *BAD_LINES, b"", json.dumps(last).encode()]
    path.write_bytes(b"\n".join(lines))
    assert scan_metrics(path) == ([first, last], len(BAD_LINES))


def test_resuming_keeps_the_rows_behind_a_bad_line_and_tells_of_it(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2}\n\x00\x00\n{"loss": 3}\n{"step": 4}\n{"step": 6}\n')
    MetricsLog(tmp_path, 4).close()
    assert read_metrics(path) == [{"step": 2}, {"step": 4}]
    assert "2 lines that hold no row are dropped" in caplog.text


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with MetricsLog(None, 0) as log:
        log.write(1, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_the_bar_goes_to_stderr_and_can_be_silent(capsys):
    with progress_bar("a_stage", 2, 4) as bar:
        bar.update(2)
    captured = capsys.readouterr()
    assert "a_stage" in captured.err and "4/4" in captured.err and captured.out == ""
    with progress_bar("a_stage", 0, 4, quiet=True) as bar:
        count_step(bar)
    assert capsys.readouterr().err == ""


def test_rows_and_pictures_go_to_weights_and_biases_too(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = WandbRun("a project", tmp_path / "W/stage", {"seed": 3})
    with MetricsLog(tmp_path / "W/stage", 0, run) as log:
        log.write(5, {"loss": 0.25, "held_out/ema/loss": 0.5})
        log.write_picture(5, "samples", Image.new("RGB", (4, 3)))
    (written,) = (tmp_path / "W/stage/wandb").glob("offline-run-*/run-*.wandb")
    for _ in range(100):  # by a process of its own
        stored = written.read_bytes()
        if b"samples" in stored:
            break
        time.sleep(0.1)
    assert b"held_out/ema/loss" in stored and b"samples" in stored
    assert (tmp_path / "W/stage/samples/00000005.png").is_file()


def test_pictures_lie_by_step_and_a_fresh_start_drops_all_rows(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write(0, {"held_out/ema/loss": 1.0})
        log.write_picture(0, "samples", Image.new("RGB", (4, 3)))
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["00000000.png"]
    with MetricsLog(tmp_path, 0) as log:  # killed before the first checkpoint
        log.write(0, {"held_out/ema/loss": 1.0})
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_the_first_step_is_no_estimate_of_the_others(capsys, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    with progress_bar("a_stage", 5, 11) as bar:
        bar._time = lambda: clock[0]
        assert "compiling the first step" in capsys.readouterr().err
        clock[0] += 600
        count_step(bar)
        assert (bar.n, bar.initial) == (6, 6) and "compiling" not in str(bar)
        assert bar.format_dict["elapsed"] == 0
        for _ in range(2):
            clock[0] += 1
            count_step(bar)
        assert bar.format_dict["elapsed"] == 2 and bar.format_dict["n"] == 8
        assert "1.00step/s" in str(bar)
