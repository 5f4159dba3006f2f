import json

from anchoredit_jax.training.metrics_log import (
    MetricsLog,
    count_step,
    progress_bar,
    read_metrics,
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
    assert not list(tmp_path.glob("*.partial"))


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
