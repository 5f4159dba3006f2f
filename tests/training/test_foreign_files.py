"""A run writes into a folder of its own: what others wrote in its place stays."""

import pytest

from anchoredit_jax.errors import UserError
from anchoredit_jax.training.curriculum import run_curriculum
from anchoredit_jax.training.going_back import set_aside
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.preflight import TRIAL, check_run
from tests.launch.foreign import plant, snapshot
from tests.training.fake_stages import make_run

pytestmark = pytest.mark.usefixtures("fake_stages")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_stage_refuses_others_files_of_every_name_that_it_writes(tmp_path, kind):
    run = make_run("fake_first")
    run_stage(run, tmp_path / "own", quiet=True)
    names = sorted(path.name for path in (tmp_path / "own" / "fake_first").iterdir())
    assert {"config.json", "metrics.jsonl", "checkpoints", "tensorboard"} <= set(names)
    for name in (*names, "samples", "profile", "wandb", "certificate.json"):
        workdir = tmp_path / f"foreign {name}"
        plant(workdir / "fake_first" / name, kind)
        before = snapshot(workdir)
        with pytest.raises(UserError, match="give another --workdir") as caught:
            run_stage(run, workdir, quiet=True)
        assert "\n" not in str(caught.value) and str(workdir) in str(caught.value)
        assert snapshot(workdir) == before


def test_a_curriculum_refuses_the_place_of_a_later_stage_before_the_first(tmp_path):
    plant(tmp_path / "fake_second" / "config.json", "file")
    before = snapshot(tmp_path)
    runs = [make_run("fake_first"), make_run("fake_second")]
    with pytest.raises(UserError, match="fake_second/config.json' is there"):
        run_curriculum(runs, tmp_path, quiet=True)
    assert snapshot(tmp_path) == before


def test_a_trial_leaves_a_folder_of_its_name(tmp_path):
    plant(tmp_path / TRIAL, "folder")
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match="not made by this command"):
        check_run(make_run("fake_first"), tmp_path)
    assert snapshot(tmp_path) == before


def test_what_is_set_aside_goes_beside_a_folder_of_that_name(tmp_path):
    run = make_run("fake_first")
    folder = tmp_path / "fake_first"
    run_stage(run, tmp_path, quiet=True)
    plant(folder / "set_aside-1", "folder")
    before = snapshot(folder / "set_aside-1")
    assert "set_aside-2" in set_aside(run, folder, 4)
    assert snapshot(folder / "set_aside-1") == before
