import json

from anchoredit_jax.training.metrics_log import MetricsLog, progress_bar, read_metrics


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
        bar.update()
    assert capsys.readouterr().err == ""
