"""Every command that writes into a folder for long is refused one that another has."""

import pytest

from anchoredit_jax.errors import Exit
from launch import (
    build_benchmark,
    curriculum,
    edit,
    evaluate,
    prepare_data,
    rehearsal,
    reproduce,
    train,
)
from tests.data.corpus import make_corpus
from tests.launch.foreign import hold, snapshot
from tests.launch.test_foreign_files import SAMPLE
from tests.session_builder.benchmark_input import photos

CONFIG = "configs/sprites.py:preset=quick"
# Of those whose result appears whole, the place beside it is had.
BESIDE = (edit, build_benchmark)


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        (edit, ("--image", SAMPLE, "--instruction", "", "--out")),
        (evaluate, ("--parts", "table", "--sessions", 1, "--turns", 1, "--out")),
        (rehearsal, ("--short", "--out")),
        (prepare_data, ("--source", "RAW", "--out")),
        (prepare_data, ("--source", "RAW", "--pack")),
        (build_benchmark, ("--images", "PHOTOS", "--min-side", 16, "--out")),
        (train, ("--config", CONFIG, "--workdir")),
        (train, ("--config", CONFIG, "--check", "--workdir")),
        (curriculum, ("--config", CONFIG, "--workdir")),
        (reproduce, ("run", "--config", CONFIG, "--workdir")),
    ],
    ids=lambda value: value.__name__ if hasattr(value, "__name__") else "",
)
def test_a_folder_that_another_has_is_refused(script, flags, tmp_path, capsys):
    out = tmp_path / "out"
    make_corpus(tmp_path / "raw", good=2)
    photos(tmp_path / "photos")
    there = {"RAW": tmp_path / "raw", "PHOTOS": tmp_path / "photos"}
    if script in BESIDE:
        hold(tmp_path, ".out")
    else:
        hold(out)
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        script.main([*(str(there.get(flag, flag)) for flag in flags), str(out)])
    said = capsys.readouterr().err
    assert stopped.value.code == Exit.WRONG_INPUT
    assert "is in use by process" in said and said.count("\n") == 1, said
    assert snapshot(tmp_path) == before
