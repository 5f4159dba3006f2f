"""What a stage starts from: found in the workdir, named, or nothing at all."""

import dataclasses

import pytest

from anchoredit_jax.checkpoint import assets
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.stage import IMPORTED
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing.tiny import tiny_params, tiny_run
from anchoredit_jax.training.curriculum import run_curriculum
from anchoredit_jax.training.loop import run_stage
from anchoredit_jax.training.parents import find_parent
from anchoredit_jax.trees import digest
from tests.training.fake_stages import make_run


def write_import(folder, run, stage=IMPORTED):
    params = tiny_params(run.model)
    lineage = Lineage(stage, 0, digest(params), run.to_dict())
    return assets.save_bundle(folder, params, run, lineage)


def test_weights_imported_into_the_workdir_are_the_parent_of_the_first_stage(tmp_path):
    run = tiny_run("single_turn")
    assert find_parent(run, tmp_path, None) == (None, None)
    file = write_import(tmp_path, run)
    weights, _ = find_parent(run, tmp_path, None)
    assert weights.lineage.stage == IMPORTED
    named, _ = find_parent(run, tmp_path / "elsewhere", file)
    assert named.lineage == weights.lineage
    # Other weights in the workdir, such as an export, are no parent.
    other = tmp_path / "other"
    write_import(other, run, "distribution_matching")
    assert find_parent(run, other, None) == (None, None)


def test_imported_weights_may_be_used_in_another_way_than_stages_use_theirs(tmp_path):
    file = write_import(tmp_path, tiny_run("single_turn"))
    used = tiny_run("single_turn", model={"temporal_stride": 2, "attention": "dense"})
    assert find_parent(used, tmp_path, file)[0] is not None
    with pytest.raises(UserError, match="differs in model.eps"):
        find_parent(tiny_run("single_turn", model={"eps": 1e-5}), tmp_path, file)
    ours = write_import(tmp_path / "ours", tiny_run("single_turn"), "single_turn")
    with pytest.raises(UserError, match="differs in model.temporal_stride"):
        find_parent(used, tmp_path, ours)


def test_random_values_have_to_be_asked_for_by_name(tmp_path):
    run = tiny_run("single_turn")
    asked = dataclasses.replace(run.options, from_scratch=False)
    with pytest.raises(UserError, match="options.from_scratch=true"):
        find_parent(run.replace(options=asked), tmp_path, None)
    write_import(tmp_path, run)
    assert find_parent(run.replace(options=asked), tmp_path, None)[0] is not None


@pytest.mark.usefixtures("fake_stages")
def test_a_curriculum_starts_from_a_named_checkpoint(tmp_path, monkeypatch):
    stage = dataclasses.replace(STAGES["fake_first"], parents=("fake_first",))
    monkeypatch.setitem(STAGES, "fake_first", stage)
    before = run_stage(make_run("fake_first"), tmp_path / "before", quiet=True)
    runs = [make_run("fake_first"), make_run("fake_second")]
    for _ in range(2):  # and goes on under the same command
        results = run_curriculum(
            runs, tmp_path / "W", parent=before.checkpoint, quiet=True
        )
    assert list(results) == ["fake_first", "fake_second"]
    chain = assets.load_weights(tmp_path / "W").lineage.chain()
    assert [link.stage for link in chain] == ["fake_first", "fake_first", "fake_second"]
