"""What is unfinished, damaged or not to be read now is told apart, and never lost."""

import errno
import os
import shutil

import jax.numpy as jnp
import pytest

from anchoredit_jax.checkpoint import assets, manager, steps
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.step import TrainState

from .test_assets import assert_same, make_params, save_stage

SPECIAL = ["a[1]", "a[x..y]", "a\\b", "a*b", "a**b", "a?b", "a\udcffb"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_stage(tmp_path_factory.mktemp("saved"), make_params())


@pytest.fixture
def stage(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "stage") / "checkpoints"


def loop(path):
    """A real error that binds root too: a link to itself (ELOOP)."""
    path.unlink()
    path.symlink_to(path)


def gone(path):
    """A link to a disk that is not there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to("/nowhere/at/all")


REFUSED = {
    "its record": lambda stage: loop(stage / "8" / steps.RECORD),
    "its record's disk": lambda stage: gone(stage / "8" / steps.RECORD),
    "the step": lambda stage: gone(stage / "8"),
    "an item": lambda stage: gone(stage / "8" / "ema"),
    "all": gone,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_disk_does_not_give_is_no_unfinished_save(stage, what):
    REFUSED[what](stage)
    before = sorted(os.listdir(stage.parent))
    for read in (manager.latest_step, lambda _: assets.load_weights(stage.parent)):
        with pytest.raises(OSError, match="cannot be read at the moment, and nothing"):
            read(stage)
    if what != "all":
        manager.open_manager(stage, None).close()
        assert sorted(os.listdir(stage)) == ["4", "8"]
        assert manager.committed_steps(stage) == [4]  # one that is named goes
    assert sorted(os.listdir(stage.parent)) == before


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_errors_of_a_network_are_no_unfinished_save(stage, monkeypatch, number):
    real = os.stat

    def stat(path, *args, **options):
        if os.fspath(path) == str(stage / "8" / steps.RECORD):
            raise OSError(number, os.strerror(number), path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(OSError, match="cannot be read at the moment") as error:
        manager.latest_step(stage)
    assert error.value.errno == number
    assert not steps.is_unfinished(stage / "8")


def test_files_behind_orbax_are_told_as_the_disk_tells_them(stage):
    for file in [*(stage / "8" / "ema").rglob("d/*")]:
        loop(file)
    with pytest.raises(OSError, match="Too many levels .* at the moment"):
        assets.load_weights(stage)
    loop(stage / "4" / "meta" / "metadata")  # which Orbax takes for none
    with pytest.raises(OSError, match="Too many levels .* at the moment"):
        manager.read_meta(stage / "4")


LOST = {
    "the record": lambda step: (step / steps.RECORD).unlink(),
    "what it says": lambda step: (step / steps.RECORD).write_text("{"),
    "an item": lambda step: shutil.rmtree(step / "params"),
    "what it is": lambda step: shutil.rmtree(step / "meta"),
    "the folder": lambda step: [shutil.rmtree(step), step.write_text("")],
}  # fmt: skip


@pytest.mark.parametrize("what", LOST)
def test_a_run_does_not_go_back_beside_a_damaged_step_unasked(stage, what):
    LOST[what](stage / "8")
    with pytest.raises(UserError, match="8 is damaged: it lacks ") as error:
        manager.latest_step(stage)
    said = str(error.value)
    assert f"{stage / '4'} is whole: name that, or train on from it with" in said
    assert f"--workdir {stage.parents[1]} --from-step 4" in said
    manager.open_manager(stage, None).close()
    assert sorted(os.listdir(stage)) == ["4", "8"]
    LOST[what](stage / "4")
    with pytest.raises(UserError, match="no other checkpoint beside it is whole: go"):
        manager.latest_step(stage)


def test_a_record_that_is_a_pipe_is_not_waited_for(stage):
    (stage / "8" / steps.RECORD).unlink()
    os.mkfifo(stage / "8" / steps.RECORD)
    with pytest.raises(UserError, match="8 is damaged: it lacks "):
        manager.latest_step(stage)


def test_a_run_does_not_begin_anew_beside_steps_that_are_not_marked(stage):
    def empty(step):
        shutil.rmtree(stage / step)
        (stage / step).mkdir()

    empty("8")
    assert manager.latest_step(stage) == 4  # that one can be saved again
    empty("4")
    with pytest.raises(UserError, match="8 is damaged: it lacks the mark of a comple"):
        manager.latest_step(stage)
    shutil.rmtree(stage)
    stage.write_text("")
    with pytest.raises(UserError, match="checkpoints' is a file, expected a folder"):
        manager.latest_step(stage)


def test_an_unreadable_old_step_is_no_reason_not_to_use_the_last_one(stage, caplog):
    gone(stage / "4")
    assert manager.latest_step(stage) == assets.load_weights(stage).lineage.step == 8
    assert manager.committed_steps(stage) == [8]
    assert "cannot be read at the moment" in caplog.text


@pytest.mark.parametrize("name", SPECIAL)
def test_a_checkpoint_is_read_wherever_it_was_copied_to(saved, tmp_path, name):
    copy = shutil.copytree(saved, tmp_path / name)
    assert_same(assets.load_weights(copy).params, make_params())
    assert manager.check_step(copy / "checkpoints" / "8")
    assert_same(manager.read_leaf(copy / "checkpoints" / "8", "ema", "head"),
                make_params()["head"])  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
def test_nothing_is_saved_where_it_could_not_be_read(tmp_path, name):
    with pytest.raises(UserError, match="cannot be kept in .*: rename it, give a"):
        manager.open_manager(tmp_path / name, None)
    assert not (tmp_path / name).exists()
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / name)
    save_stage(tmp_path / "link", make_params(), steps=(4,))  # as is advised
    assert_same(assets.load_weights(tmp_path / name).params, make_params())


def save_and_read_back(folder):
    params = make_params()
    saver = manager.open_manager(folder, None)
    state = TrainState(jnp.int32(4), params, {}, params)
    manager.save(saver, 4, state, {"stage": "single_turn", "step": 4})
    manager.read_back(saver, 4)
    saver.close()


def test_the_first_save_is_read_back(tmp_path, monkeypatch):
    save_and_read_back(tmp_path / "plain")
    # As Orbax does it where it takes a path for a pattern: it merges no file.
    monkeypatch.setattr(manager, "check_place", lambda directory: None)
    with pytest.raises(UserError, match="was saved here and cannot be read again"):
        save_and_read_back(tmp_path / "a[1]")


def test_other_numbers_in_the_first_save_are_seen(tmp_path, monkeypatch):
    real = manager.checksums
    wrong = {"ema/head": "bfloat16[3] 00000000"}
    monkeypatch.setattr(manager, "checksums", lambda tree: real(tree) | wrong)
    with pytest.raises(UserError, match="cannot be read again .*ema/head is not what"):
        save_and_read_back(tmp_path)
    monkeypatch.setattr(manager, "READ_BACK", 4)  # bytes: less than that array
    save_and_read_back(tmp_path / "other")


def test_a_list_of_arrays_that_lost_one_is_damaged(stage):
    for name in ("_METADATA", "_sharding", "array_metadatas/process_0"):
        file = stage / "8" / "ema" / name
        file.write_text(file.read_text().replace("head", "tail"))
    with pytest.raises(UserError, match="8 is damaged"):
        assets.load_weights(stage)
