"""What a stage starts from: found in the workdir, named, or nothing at all."""

import dataclasses

import pytest

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.convert import open_weights
from anchoredit_jax.encoders import make_codec
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import CodecConfig
from anchoredit_jax.session import load_editor
from anchoredit_jax.stages.stage import IMPORTED
from anchoredit_jax.stages.step import make_train_state
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


@pytest.mark.parametrize("place", ["", "single_turn"])
@pytest.mark.parametrize("made_by", [IMPORTED, "single_turn"])
def test_an_import_is_found_as_what_it_was_imported_as(tmp_path, place, made_by):
    run = tiny_run("single_turn")
    write_import(tmp_path / place, run, made_by)
    assert find_parent(run, tmp_path, None)[0].lineage.stage == made_by
    after = tiny_run("causal_forcing")
    if made_by == IMPORTED:
        with pytest.raises(UserError, match="'imported'|result of imported"):
            find_parent(after, tmp_path, None)
    else:
        assert find_parent(after, tmp_path, None)[0].lineage.stage == made_by


@pytest.mark.parametrize("place", ["", "single_turn"])
def test_nothing_starts_from_random_values_beside_weights(tmp_path, place):
    run = tiny_run("single_turn")
    write_import(tmp_path / place, run, "distribution_matching")
    with pytest.raises(UserError, match="result of distribution_matching, which stage"):
        find_parent(run, tmp_path, None)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / assets.FILE_NAME).symlink_to("/nowhere/at/all")
    with pytest.raises(UserError, match="is no safetensors file"):
        find_parent(run, tmp_path / "other", None)


@pytest.mark.usefixtures("fake_stages")
def test_the_workdir_itself_may_be_named_as_the_parent(tmp_path):
    run_stage(make_run("fake_first"), tmp_path, quiet=True)
    for steps in (4, 8):  # the second time it holds what went further
        run = make_run("fake_second", f"loop.steps={steps}")
        result = run_stage(run, tmp_path, tmp_path / ".", quiet=True)
    assert result.resumed == 4


def test_whatever_reads_a_folder_means_the_same_in_it(tmp_path):
    """The import before a stage is trained beside it, the stage's result afterwards."""
    channels = {"channels": make_codec(CodecConfig()).channels}
    run = tiny_run("single_turn", model=channels)
    file = write_import(tmp_path, run)
    params = tiny_params(run.model, seed=1)

    def read():
        session = load_editor(tmp_path)  # as do edit, evaluate, app and reproduce
        source = open_weights(tmp_path)  # as do import, export, inspect and verify
        return {
            assets.load_weights(tmp_path).lineage.digest,  # as do --parent, curriculum
            digest(session.params),
            digest(source.tree()),
        }, {assets.peek(tmp_path), (source.lineage.stage, source.step)}

    imported = assets.load_bundle(file).lineage.digest
    assert read() == ({imported}, {(IMPORTED, 0)})
    parent, _ = find_parent(run, tmp_path, None)
    assert parent.lineage.digest == imported
    saver = manager.open_manager(tmp_path / "single_turn" / "checkpoints", None)
    state = make_train_state(params, run.optimizer)
    meta = assets.make_meta("single_turn", 3, run, parent.lineage)
    manager.save(saver, 3, state, meta)
    saver.close()
    assert read() == ({digest(params)}, {("single_turn", 3)})
    after, _ = find_parent(tiny_run("causal_forcing", model=channels), tmp_path, None)
    assert after.lineage.digest == digest(params)


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
