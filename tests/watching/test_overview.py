import datetime
import os

from anchoredit_jax.watching.overview import (
    duration,
    find_notes,
    overview,
    seconds_left,
)
from anchoredit_jax.watching.reading import read_workdir
from tests.watching.made_up import write_rows

NOW = datetime.datetime(2026, 3, 4, 8, 0, 0, tzinfo=datetime.UTC)


def read(workdir, rows, steps=100, age=60.0):
    path = write_rows(workdir / "single_turn", rows)
    os.utime(path, (0, NOW.timestamp() - age))
    config = f'{{"loop": {{"steps": {steps}}}}}'
    (path.parent / "config.json").write_text(config)
    return read_workdir(workdir, "W")


def test_durations_are_told_in_two_units():
    told = {0: "0 s", 59.9: "59 s", 60: "1 min", 5 * 3600 + 720: "5 h 12 min",
            3 * 86400 + 4 * 3600 + 59: "3 d 4 h", -5: "0 s"}  # fmt: skip
    assert {seconds: duration(seconds) for seconds in told} == told


def test_the_top_tells_step_time_left_and_the_latest_numbers(tmp_path):
    rows = [
        {"step": 10, "loss": 0.5, "step_seconds": 40.0},
        {"step": 30, "loss": 0.25, "step_seconds": 60.0, "mfu": 0.41},
        {"step": 30, "held_out/ema/loss": 0.375, "edited/success": 0.9},
    ]
    workdir = read(tmp_path, rows)
    assert seconds_left(workdir.current) == 70 * 60.0
    page = overview(workdir, NOW)
    for said in (
        "step 30 of 100 (30%)",
        "1 h 10 min left",
        "last row 1 min ago",
        ">0.25<",
        ">41 %<",
        ">0.375<",
        ">90 %<",
        "0.5 → 0.25",
        ">26 min<",
    ):  # 10 * 40 s + 20 * 60 s
        assert said in page  # fmt: skip
    assert find_notes(workdir, NOW) == []
    # The run's own word counts before what its speed says.
    own = read(tmp_path, [{"step": 10, "seconds_left": 7200, "step_seconds": 1}])
    assert seconds_left(own.current) == 7200
    done = read(tmp_path, [{"step": 100, "seconds_left": 7.0}])
    assert seconds_left(done.current) == 0 and "finished" in overview(done, NOW)


def test_what_should_be_looked_at_is_told(tmp_path):
    rows = [{"step": 10, "loss": 1.0, "data_wait": 0.23, "skipped": 1.0}]
    notes = find_notes(read(tmp_path, rows, age=7200), NOW)
    assert [note.partition("single_turn ")[2] for note in notes] == [
        "is not finished and has written no row for 2 h 0 min",
        "waits for data 23% of its time",
        "skips steps: see Optimisation",
    ]
    assert find_notes(read(tmp_path, [{"step": 100}, {"loss": 1}], age=7200), NOW) == [
        "single_turn: metrics.jsonl: 1 line left out, no row in them"
    ]


def test_without_rows_that_is_told(tmp_path):
    assert "no rows yet" in overview(read(tmp_path, []), NOW)
