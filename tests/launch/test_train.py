import pytest

from anchoredit_jax.checkpoint import load_weights
from anchoredit_jax.errors import Exit
from anchoredit_jax.stages import table
from launch import curriculum, train
from tests.training.conftest import fake_stages  # noqa: F401

FAKE = """
from ml_collections import ConfigDict
from anchoredit_jax.config import override, parse_arg
from tests.training.fake_stages import make_run

def get_config(arg=None):
    given, dotted = parse_arg(arg, dict(stage="fake_first"))
    return override(ConfigDict(make_run(given["stage"]).to_dict()), dotted)
"""


@pytest.fixture
def config(tmp_path, fake_stages):  # noqa: F811
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


def fails(capsys, main, *arguments):
    """Exit code 2 and the one line that was said."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert stop.value.code == 2, captured.err
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_trains_a_stage_and_the_next(config, tmp_path, capsys):
    work = tmp_path / "w"
    train.main(["--config", str(config), "--workdir", str(work), "--quiet"])
    train.main(["--config", f"{config}:stage=fake_second", "--workdir", str(work)])
    captured = capsys.readouterr()
    assert "fake_first: step 10, loss" in captured.out
    assert "fake_second" in captured.err  # the progress bar
    assert load_weights(work).lineage.stage == "fake_second"
    train.main(["--config", str(config), "--workdir", str(work)])
    assert "was finished already" in capsys.readouterr().out


def test_profiles_a_window_of_steps(config, tmp_path, capsys):
    arguments = ["--config", str(config), "--workdir", str(tmp_path / "w"), "--quiet"]
    said = fails(capsys, train.main, *arguments, "--profile", "4")
    assert "FIRST:LAST" in said
    said = fails(capsys, train.main, *arguments, "--profile", "4:11")
    assert "this run does those after 0 up to 10" in said
    assert not (tmp_path / "w").exists()
    train.main([*arguments, "--profile", "4:6"])
    assert list((tmp_path / "w" / "fake_first" / "profile").rglob("*.xplane.pb"))


def test_trains_all_stages_and_exports(config, tmp_path, capsys, monkeypatch):
    names = ("fake_first", "fake_second")
    stages = {name: table.STAGES[name] for name in names}
    monkeypatch.setattr(table, "STAGES", stages)
    work, out = tmp_path / "w", tmp_path / "out"
    arguments = ["--config", str(config), "--workdir", str(work), "--quiet"]
    curriculum.main([*arguments, "--export", str(out)])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("fake_first: step 10")
    assert said[-2].startswith("lineage: fake_first@10 (")
    assert load_weights(out).lineage == load_weights(work).lineage


def test_wrong_input_is_one_line_and_leaves_nothing(config, tmp_path, capsys):
    work, file = tmp_path / "w", tmp_path / "file"
    file.write_text("")
    base = ("--workdir", work, "--config")
    for arguments, said in (
        ((*base, f"{config}:stage=third"), "unknown stage 'third'"),
        ((*base, f"{config}:data.bacth=4"), "nothing reads it"),
        ((*base, f"{config}:stpes=4"), "unknown config argument 'stpes'"),
        ((*base, tmp_path / "none.py"), "does not exist"),
        ((*base, f"{config}:stage=fake_second"), "train that first"),
        ((*base, config, "--parent", tmp_path / "none"), "does not exist"),
        (("--workdir", file, "--config", config), "is a file, expected a folder"),
        ((*base, config, "--wrokdir", "x"), "unrecognized arguments"),
        ((*base[:2],), "required: --config"),
    ):
        assert said in fails(capsys, train.main, *arguments)
    assert not work.exists()


def test_wrong_input_of_the_curriculum(config, tmp_path, capsys, monkeypatch):
    stages = {"fake_first": table.STAGES["fake_first"]}
    monkeypatch.setattr(table, "STAGES", stages)
    base = ("--workdir", tmp_path / "w", "--config")
    for arguments, said in (
        ((*base, f"{config}:stage=fake_first"), "leave 'stage=' out"),
        ((*base, config, "--until", "fake_third"), "unknown stage 'fake_third'"),
        ((*base, f"{config}:data.bacth=4"), "nothing reads it"),
    ):
        assert said in fails(capsys, curriculum.main, *arguments)
    assert not (tmp_path / "w").exists()


def test_a_diverged_run_has_an_exit_code_of_its_own(config, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        arguments = ["--workdir", str(tmp_path / "w"), "--quiet"]
        train.main([*arguments, "--config", f"{config}:options.diverge_at=3"])
    assert stop.value.code == Exit.DIVERGED
    assert "the loss is nan at step 3" in capsys.readouterr().err


def test_a_run_is_steered_and_goes_back(config, tmp_path, capsys):
    work = ["--workdir", str(tmp_path / "w"), "--quiet"]
    train.main(["--config", str(config), *work])
    changed = ["--config", f"{config}:data.batch=4", *work]
    said = fails(capsys, train.main, *changed)
    assert "data.batch: 2, now 4" in said and "add --change" in said
    train.main([*changed, "--change", "--from-step", "4"])
    captured = capsys.readouterr()
    assert "fake_first: step 10, loss" in captured.out
    assert "the checkpoints of 8, 10 and their metrics are in" in captured.err
    said = fails(capsys, train.main, *changed, "--from-step", "5")
    assert "there is no checkpoint of that step" in said
