"""Damaged checkpoints and bundles: the right weights, or one line that says so."""

import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.step import TrainState
from anchoredit_jax.trees import digest

from .test_assets import RUN, assert_same, make_lineage, make_params, save_stage

DAMAGES = 200  # seeded, of each kind of storage


def damaged(content: bytes, rng) -> bytes | None:
    """The content of a file after something happened to it; None: it is gone."""
    kind = rng.choice(["flip", "flip", "flip", "cut", "zeros", "gone"])
    if kind == "gone":
        return None
    if kind == "cut":
        return content[: rng.integers(len(content))]
    place, changed = rng.integers(len(content)), bytearray(content)
    if kind == "flip":
        changed[place] ^= 1 << rng.integers(8)
    else:
        length = min(64, len(content) - place)
        changed[place : place + length] = bytes(length)
    return bytes(changed)


def outcomes(files, load, expected, count=DAMAGES):
    """How often damaged files gave the right weights, and what else was said."""
    right, said = 0, []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        changed = damaged(content, rng)
        file.unlink() if changed is None else file.write_bytes(changed)
        try:
            params = load().params
        except UserError as error:
            assert "\n" not in str(error), (seed, file)
            said.append(str(error))
        else:
            assert_same(jax.device_get(params), jax.device_get(expected))
            right += 1
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    return right, said


def test_a_damaged_checkpoint_gives_the_right_weights_or_one_line(tmp_path):
    params = make_params()
    folder = save_stage(tmp_path, params, steps=(8,)) / "checkpoints" / "8"
    parts = [folder, folder / "meta", *(folder / "ema").rglob("*"), folder / "ema"]
    files = [f for part in parts for f in sorted(part.glob("*")) if f.is_file()]
    files = sorted(set(files))
    right, said = outcomes(files, lambda: assets.load_weights(folder), params)
    assert right + len(said) == DAMAGES
    assert len(said) > DAMAGES / 4 and right > 10


def test_a_damaged_bundle_gives_the_right_weights_or_one_line(tmp_path):
    params = make_params()
    path = assets.save_bundle(tmp_path, params, RUN, make_lineage(params))
    right, said = outcomes([path], lambda: assets.load_weights(path), params)
    assert right + len(said) == DAMAGES and right < DAMAGES / 20


@pytest.fixture
def stage(tmp_path):
    return save_stage(tmp_path, make_params()) / "checkpoints"


def flip(folder):
    """Change a bit of every file that holds arrays."""
    for file in folder.rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[-20] ^= 16
        file.write_bytes(content)


def test_what_is_still_whole_is_named(stage):
    flip(stage / "8" / "ema")
    for read in (assets.load_weights, lambda path: manager.read_item(path, "ema")):
        with pytest.raises(UserError, match=r"/8 is damaged: ") as error:
            read(stage / "8")
        assert f"; {stage / '4'} is whole: name that, or train on from it with " in str(
            error.value
        )
    for file in (stage / "4" / "params").rglob("d/*"):
        file.unlink()
    with pytest.raises(UserError, match="no other checkpoint beside it is whole"):
        assets.load_weights(stage)
    assert_same(manager.read_item(stage / "8", "params"), jax.device_get(make_params()))


def test_a_run_that_would_go_on_from_damage_is_told_so(stage):
    params = make_params()
    state = TrainState(jnp.int32(8), params, {}, params)
    abstract = jax.eval_shape(lambda: state)
    assert_same(manager.restore(stage / "8", abstract).params, params)
    flip(stage / "8" / "params")
    with pytest.raises(UserError, match="8 is damaged: .*4 is whole: name that"):
        manager.restore(stage / "8", abstract)


def test_a_whole_step_is_checked_array_by_array(stage):
    assert manager.check_step(stage / "8")
    flip(stage / "8" / "params")
    assert manager.check_step(stage / "8", ["ema"])
    with pytest.raises(UserError, match="8 is damaged: .*params"):
        manager.check_step(stage / "8")


def test_the_record_beside_the_arrays_is_checked_too(stage):
    file = stage / "8" / "meta" / "metadata"
    text = file.read_text()
    assert manager.stored_checksums(stage / "8").keys() > {"ema/head", "step/value"}
    file.write_text(text.replace('"step": 8', '"step": 9'))
    with pytest.raises(UserError, match="its 'meta' is not what was saved"):
        assets.load_weights(stage / "8")


def without_checksums(stage, step):
    """As an earlier version saved it."""
    file = stage / step / "meta" / "metadata"
    meta = json.loads(file.read_text())
    del meta[manager.CHECKSUMS], meta[manager.SEAL]
    file.write_text(json.dumps(meta))


def test_a_checkpoint_of_before_checksums_loads_as_before(stage):
    without_checksums(stage, "8")
    assert_same(assets.load_weights(stage / "8").params, make_params())
    assert not manager.check_step(stage / "8")
    flip(stage / "4" / "ema")
    with pytest.raises(UserError, match="8 can be read, without checksums: name that"):
        assets.load_weights(stage / "4")


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path):
    params = make_params()
    params["head"] = params["head"].at[1].set(jnp.nan)
    save_stage(tmp_path / "stage", params)
    said = r"NaN or infinities in '(ema/)?head' \(1 of 3 numbers\)"
    with pytest.raises(UserError, match=said):
        assets.load_weights(tmp_path / "stage")
    path = assets.save_bundle(tmp_path, params, RUN, make_lineage(params))
    with pytest.raises(UserError, match=said):
        assets.load_weights(path)


def test_a_step_that_lacks_a_part_gives_the_others(stage, caplog):
    shutil.rmtree(stage / "8" / "params")
    with caplog.at_level(logging.WARNING):
        loaded = assets.load_weights(stage)
    assert_same(loaded.params, make_params())
    assert "8 is incomplete: it lacks params" in caplog.text
    assert manager.committed_steps(stage) == [4]
    assert_same(assets.load_weights(stage / "8").params, make_params())
    assert "8 lacks params: reading the rest" in caplog.text
    with pytest.raises(UserError, match="holds no 'params', it holds ema, meta, step"):
        assets.load_weights(stage / "8", "params")
    shutil.rmtree(stage / "8" / "meta")
    with pytest.raises(UserError, match="lacks its 'meta', which tells"):
        assets.load_weights(stage / "8")
    assert assets.load_weights(stage).lineage.step == 4


def test_a_step_may_be_renamed(stage, caplog):
    best = (stage / "8").rename(stage / "best")
    loaded = assets.load_weights(best)
    assert loaded.lineage.step == 8 and digest(loaded.params) == digest(make_params())
    assert "best holds step 8, by its own record" in caplog.text
    assert assets.load_weights(stage).lineage.step == 4
    shutil.rmtree(stage / "4")
    with pytest.raises(UserError, match="but best holds one: name that folder"):
        assets.load_weights(stage)


def test_what_was_not_saved_completely_says_so(stage):
    (stage / "8" / manager.RECORD).unlink()
    with pytest.raises(
        UserError, match="not saved completely, or its _CHECKPOINT_META"
    ):
        assets.load_weights(stage / "8")


def test_published_files_are_told_to_be_imported_first(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"any")
    for path in (tmp_path / "model.pth", tmp_path):
        with pytest.raises(UserError, match=r"import it first, with launch/convert.py"):
            assets.load_weights(path)
