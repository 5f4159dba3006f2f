"""The benchmark builder's script: a benchmark, or all that is wrong and nothing."""

import json

import pytest

from launch import build_benchmark
from tests.session_builder.benchmark_input import POOL, photos


def test_a_benchmark(tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--images", photos(tmp_path / "photos"), "--out", out, "--min-side", 16]
    build_benchmark.main([*map(str, flags), "--quiet"])
    assert capsys.readouterr() == (
        f"2 sessions of 20 turns in all (6 local, 4 global, 8 returns) in {out}\n",
        "",
    )
    assert (out / "dog" / "dog.json").is_file()


def test_a_benchmark_from_a_pool(tmp_path, capsys):
    out, pool = tmp_path / "out", tmp_path / "pool.txt"
    pool.write_text(POOL)
    images = photos(tmp_path / "photos", text=None)
    flags = ["--images", images, "--out", out, "--pool", pool, "--seed", 3]
    flags += ["--min-side", 16, "--turns", 12, "--language", "de", "--quiet"]
    build_benchmark.main([*map(str, flags)])
    assert "2 sessions of 24 turns" in capsys.readouterr().out
    assert json.loads((out / "benchmark.json").read_text())["settings"] == {
        "min_side": 16,
        "turns": [12, 12],
        "language": "de",
        "seed": 3,
        "pool": "pool.txt",
    }


def test_all_problems_are_told_a_line_each(tmp_path, capsys):
    images, out = photos(tmp_path / "photos"), tmp_path / "out"
    (images / "cat.txt").unlink()
    flags = ["--images", str(images), "--out", str(out), "--quiet"]
    with pytest.raises(SystemExit) as stop:
        build_benchmark.main(flags)
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == "" and not out.exists()
    lines = said.err.splitlines()
    assert lines[0].startswith("cat.png: no instructions")
    assert lines[1].startswith("cat.png: 20 x 16 pixels: the shorter side")
    assert lines[2].startswith("dog.png: 20 x 16 pixels")
    assert lines[3].startswith("error: 3 problems with the images and lists in")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--turns", "ten"], "--turns: expected such as 10:20, given 'ten'"),
        (["--turns", "12:"], "--turns: expected such as"),
        (["--turns", "12:10"], "turns must be the fewest and the most"),
        (["--min-side", "0"], "min_side must be 8 or more"),
        (["--seed", "1"], "--seed is of the draws from a --pool"),
        (["--pool", "a", "--instructions", "b"], "not allowed with argument"),
        (["--out", "{there}"], "is there already"),
    ],
)
def test_wrong_flags(tmp_path, capsys, flags, message):
    images = photos(tmp_path / "photos")
    flags = [flag.replace("{there}", str(images)) for flag in flags]
    given = ["--images", str(images), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        build_benchmark.main([*given, *flags])
    said = capsys.readouterr()
    assert stop.value.code == 2 and said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("error: ") and message in said.err
    assert [*tmp_path.iterdir()] == [images]
