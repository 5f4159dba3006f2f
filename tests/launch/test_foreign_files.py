"""No command removes or overwrites what it did not write itself.

Each is run where somebody else's file, or folder, has one of the names that it writes:
it is refused in one line before any work is done, and every byte is as it was. What a
run of training writes is in tests/training/test_foreign_files.py.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anchoredit_jax.belongings import NAME
from anchoredit_jax.checkpoint import save_bundle
from anchoredit_jax.checkpoint.assets import FILE_NAME
from anchoredit_jax.convert import export_weights, import_weights, open_weights
from anchoredit_jax.data import feature_cache
from anchoredit_jax.data.prepared import prepare
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.report import WRITTEN
from anchoredit_jax.evaluation.runs import ANSWERS, FRAMES
from anchoredit_jax.planning import write_rows
from anchoredit_jax.reproducibility import write as write_certificate
from anchoredit_jax.session import session_file
from launch import (
    build_benchmark,
    convert,
    curriculum,
    edit,
    evaluate,
    plan,
    prepare_data,
    rehearsal,
    reproduce,
    watch,
)
from tests.convert.published import write_published
from tests.data.corpus import make_corpus
from tests.launch.foreign import plant, snapshot
from tests.planning.rows import make_row
from tests.reproducibility.certified import certificate
from tests.session_builder.benchmark_input import photos

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "anchoredit_jax" / "assets" / "sample.png"
CONFIG = str(ROOT / "configs" / "sprites.py")
RESULT = ("turn_00.png", "turn_01.png", "model_size", "contact_sheet.png",
          "session.json", "session.safetensors", NAME)  # fmt: skip
PREPARED = ("source.json", "dataset.json", "report.json", "parts", "turns.npy")


@dataclasses.dataclass(frozen=True)
class Command:
    """A script's `main` with its flags, and what it writes into OUT."""

    main: Callable
    flags: tuple[str, ...]
    names: tuple[str, ...]


COMMANDS = {
    "edit": Command(
        edit.main,
        ("--image", str(SAMPLE), "--instruction", "", "--out", "OUT"),
        (*RESULT, "../out.unfinished", "../.out.replaced"),
    ),
    "edit --interactive": Command(
        edit.main,
        ("--image", str(SAMPLE), "--interactive", "--out", "OUT"),
        ("main", "night"),
    ),
    "edit --session": Command(
        edit.main,
        ("--session", "nowhere", "--instruction", "", "--out", "OUT"),
        RESULT,
    ),
    "evaluate": Command(
        evaluate.main,
        ("--checkpoint", "nowhere", "--out", "OUT"),
        (*WRITTEN, ANSWERS, NAME, f"{FRAMES}/toy/table/sink1_window3"),
    ),
    "rehearsal": Command(
        rehearsal.main,
        ("--short", "--out", "OUT"),
        ("rehearsal.json", "data", "ours", "former", "summary.json", "summary.md"),
    ),
    "prepare_data --out": Command(
        prepare_data.main, ("--source", "RAW", "--out", "OUT", "--quiet"), PREPARED
    ),
    "prepare_data --pack": Command(
        prepare_data.main,
        ("--source", "RAW", "--pack", "OUT", "--quiet"),
        ("sessions-00000.tar", "sessions.json", "packing.json"),
    ),
    "prepare_data --cache": Command(
        prepare_data.main,
        ("--cache", "OUT", "--config", "SESSIONS", "--quiet"),
        (feature_cache.ABOUT, feature_cache.NULL, feature_cache.part_name(0)),
    ),
    "build_benchmark": Command(
        build_benchmark.main,
        ("--images", "PHOTOS", "--min-side", "16", "--out", "OUT", "--quiet"),
        ("benchmark.json", "cat", "dog"),
    ),
    "watch": Command(
        watch.main, ("--workdir", "PHOTOS", "--out", "OUT/w.html"), ("w.html",)
    ),
    "plan": Command(
        plan.main,
        ("--config", CONFIG, "--topology", "v5e:2x2", "--out", "OUT/p.json"),
        ("p.json", "p.md"),
    ),
    "plan --all": Command(
        plan.main, ("--all", "--out", "OUT/p.json"), ("p.json", "p.md")
    ),
    "curriculum": Command(
        curriculum.main,
        ("--config", CONFIG, "--workdir", "OUT", "--quiet"),
        tuple(
            f"{stage}/{name}"
            for stage in ("single_turn", "distribution_matching")
            for name in ("config.json", "checkpoints", "metrics.jsonl", "samples")
        ),
    ),
    "curriculum --export": Command(
        curriculum.main,
        ("--config", CONFIG, "--workdir", "W", "--export", "OUT", "--quiet"),
        (FILE_NAME,),
    ),
    "reproduce run": Command(
        reproduce.main,
        ("run", "--config", CONFIG, "--workdir", "OUT", "--quiet"),
        ("single_turn/config.json", "single_turn/certificate.json"),
    ),
    "reproduce check": Command(
        reproduce.main,
        ("check", "--config", CONFIG, "--against", "CERTIFICATE", "--workdir", "OUT",
         "--quiet"),
        ("single_turn", "single_turn/config.json", "single_turn/certificate.json"),
    ),
    "convert import": Command(
        convert.main,
        ("import", "--src", "WEIGHTS", "--out", "OUT", "--quiet"),
        (FILE_NAME,),
    ),
    "convert export, a folder": Command(
        convert.main,
        ("export", "--checkpoint", "WEIGHTS", "--dialect", "diffusers", "--out", "OUT",
         "--quiet"),
        ("config.json", "README.md", "diffusion_pytorch_model.safetensors"),
    ),
    "convert export, a file": Command(
        convert.main,
        ("export", "--checkpoint", "WEIGHTS", "--dialect", "wan", "--quiet",
         "--out", "OUT/w.safetensors"),
        ("w.safetensors", "w.safetensors.README.md", "w.safetensors.anchoredit.json"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What the commands read."""
    root = tmp_path_factory.mktemp("inputs")
    make_corpus(root / "raw", good=2)
    photos(root / "photos")
    write_published(root / "weights", "vae", "wan")
    prepare(root / "raw", root / "prepared")
    write_certificate(root / "certificate.json", certificate())
    return {
        "RAW": str(root / "raw"),
        "SESSIONS": f"{ROOT}/configs/sessions.py:path={root}/prepared,side=24,turns=2",
        "CERTIFICATE": str(root / "certificate.json"),
        "PHOTOS": str(root / "photos"),
        "WEIGHTS": str(root / "weights"),
    }


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize(
    ("command", "name"),
    [(name, own) for name, command in COMMANDS.items() for own in command.names],
)
def test_what_others_wrote_stays(
    command, name, kind, inputs, tmp_path, monkeypatch, capsys
):
    asked, out = COMMANDS[command], tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    plant((out / name).resolve(), kind)
    before = snapshot(tmp_path)
    flags = [inputs.get(flag, flag.replace("OUT", str(out))) for flag in asked.flags]
    with pytest.raises(SystemExit) as stopped:
        asked.main(flags)
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert said.err.startswith("error: ") and said.err.count("\n") == 1, said.err
    assert str(tmp_path) in said.err and "nowhere" not in said.err, said.err
    assert snapshot(tmp_path) == before


def test_own_results_are_replaced_and_changed_ones_are_not(tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--image", str(SAMPLE), "--instruction", "make the background blue"]
    edit.main([*flags, "--out", str(out)])
    # RESULT is what a run writes.
    assert {path.name for path in out.iterdir()} == set(RESULT)
    edit.main([*flags[:2], "--instruction", "", "--out", str(out)])
    record = json.loads((out / "session.json").read_text())
    assert [turn["instruction"] for turn in record["turns"]] == [""]
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(out / "turn_01.png")
    before = snapshot(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        edit.main([*flags, "--out", str(out)])
    said = capsys.readouterr().err
    assert "'turn_01.png'), not written by this command or changed since" in said
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_functions_that_save_refuse_too(tmp_path, kind):
    """Those of the API, beside the commands."""
    weights = open_weights(write_published(tmp_path / "in", "vae", "wan"))
    place = tmp_path / "x.safetensors"
    plant(place, kind)
    before = snapshot(tmp_path)
    for save in (
        lambda: session_file.write(place, {}, {"a": np.zeros(1)}),
        lambda: save_bundle(place, {}, None, None),
        lambda: import_weights(weights, place),
        lambda: export_weights({"": weights}, "wan", place),
        lambda: write_rows(place, [make_row()], "jax"),
    ):
        with pytest.raises(UserError, match="x.safetensors") as caught:
            save()
        assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


def test_every_script_is_here_or_writes_no_place_that_is_named():
    scripts = {path.stem for path in (ROOT / "launch").glob("*.py")}
    without = {
        "__init__": "is no script",
        "app": "writes into a temporary folder of its own",
        "benchmark": "writes into temporary folders",
        "rehearsal_summary": "is a part of rehearsal.py",
        "train": "is in tests/training/test_foreign_files.py",
    }
    named = {command.split(" ")[0] for command in COMMANDS}
    assert scripts == named | without.keys()
