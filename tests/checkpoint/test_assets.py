import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.errors import UserError
from anchoredit_jax.stages.step import TrainState
from anchoredit_jax.trees import digest
from tests.training.fake_stages import make_run

RUN = make_run("single_turn")


def make_params(seed=0):
    return {
        "blocks": {"q": {"kernel": jax.random.normal(jax.random.key(seed), (4, 3))}},
        "head": jnp.arange(3, dtype=jnp.bfloat16),
    }


def make_lineage(params, parent=None):
    return Lineage("single_turn", 7, digest(params), RUN.to_dict(), parent)


def save_stage(folder, params, parent=None, steps=(4, 8)):
    """A stage's folder with checkpoints whose EMA is `params` + 1 per earlier step."""
    saver = manager.open_manager(folder / "checkpoints", None)
    for step in steps:
        shift = jnp.int32(steps[-1] - step)
        ema = jax.tree.map(lambda x, n=shift: x + n.astype(x.dtype), params)
        state = TrainState(jnp.int32(step), params, {}, ema)
        meta = assets.make_meta("single_turn", step, RUN, parent)
        manager.save(saver, step, state, meta)
    saver.wait_until_finished()
    saver.close()
    return folder


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_a_bundle_comes_back_bit_equal_with_its_config_and_lineage(tmp_path):
    params = make_params()
    lineage = make_lineage(params, make_lineage(make_params(1)))
    path = assets.save_bundle(tmp_path / "shipped", params, RUN, lineage)
    assert path == tmp_path / "shipped" / "model.safetensors"
    assert set(load_file(path)) == {"blocks/q/kernel", "head"}
    for given in (path, path.parent):
        loaded = assets.load_bundle(given)
        assert_same(loaded.params, params)
        assert loaded.run == RUN
        assert loaded.lineage.to_dict() == lineage.to_dict()
    named = assets.save_bundle(tmp_path / "a.safetensors", params, RUN, lineage)
    assert_same(assets.load_weights(named).params, params)
    assert not list(tmp_path.rglob("*partial"))


def test_a_bundle_that_is_not_whole_or_not_ours_is_refused(tmp_path):
    params = make_params()
    path = assets.save_bundle(tmp_path, params, RUN, make_lineage(params))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        assets.load_bundle(path)
    path.write_bytes(content[:-8])
    with pytest.raises(UserError, match="is no safetensors file"):
        assets.load_bundle(path)
    save_file({"w": np.zeros(2)}, path)
    with pytest.raises(UserError, match="not a transformer's weights file"):
        assets.load_bundle(path)
    with pytest.raises(UserError, match="does not exist"):
        assets.load_bundle(tmp_path / "absent.safetensors")


def test_weights_are_found_by_every_path_that_means_them(tmp_path):
    params = make_params()
    folder = save_stage(tmp_path / "single_turn", params)
    for path in (
        tmp_path,
        folder,
        folder / "checkpoints",
        folder / "checkpoints" / "8",
        str(folder),
    ):
        loaded = assets.load_weights(path)
        assert_same(loaded.params, params)
        assert loaded.run == RUN
        assert (loaded.lineage.stage, loaded.lineage.step) == ("single_turn", 8)
        assert loaded.lineage.digest == digest(params)
        assert assets.peek(path) == ("single_turn", 8)
    earlier = assets.load_weights(folder / "checkpoints" / "4")
    assert earlier.lineage.step == 4 and earlier.lineage.digest != digest(params)
    raw = assets.load_weights(folder / "checkpoints" / "4", "params")
    assert_same(raw.params, params)
    assert raw.lineage.weights == "params"


def test_of_several_stages_the_furthest_one_counts(tmp_path):
    first = save_stage(tmp_path / "z_first", make_params())
    parent = assets.load_weights(first).lineage
    save_stage(tmp_path / "a_second", make_params(2), parent, steps=(2,))
    loaded = assets.load_weights(tmp_path)
    assert_same(loaded.params, make_params(2))
    assert loaded.lineage.parent == parent


def test_a_path_without_weights_is_refused(tmp_path):
    params = make_params()
    bundle = assets.save_bundle(tmp_path / "b", params, RUN, make_lineage(params))
    torn = tmp_path / "torn" / "checkpoints" / "3"
    torn.mkdir(parents=True)
    (tmp_path / "text.txt").write_text("not weights")
    for path, said in (
        (tmp_path / "none", "does not exist"),
        (torn.parent, "no checkpoint in"),
        (torn, "no checkpoint in"),
        (tmp_path / "text.txt", "is no safetensors file"),
    ):
        with pytest.raises(UserError, match=said):
            assets.load_weights(path)
    with pytest.raises(UserError, match="holds the 'ema' weights, asked for 'params'"):
        assets.load_weights(bundle, "params")
    with pytest.raises(UserError, match="must be 'ema' or 'params'"):
        assets.load_weights(bundle, "best")


def test_a_name_with_a_slash_is_refused(tmp_path):
    with pytest.raises(ValueError, match="slash"):
        params = {"a/b": np.zeros(1)}
        assets.save_bundle(tmp_path, params, RUN, make_lineage(make_params()))


def test_the_order_of_bytes_in_memory_does_not_reach_the_file(tmp_path):
    params = {"w": np.arange(4, dtype=np.float32), "b": np.float32([[1, 2]])}
    swapped = {name: leaf.astype(">f4") for name, leaf in params.items()}
    assert digest(swapped) == digest(params)
    path = assets.save_bundle(tmp_path, swapped, RUN, make_lineage(params))
    assert_same(load_file(path), params)
    assert_same(jax.device_get(assets.load_bundle(path).params), params)


def save_imported(folder):
    params = make_params(5)
    lineage = Lineage("imported", 0, digest(params), RUN.to_dict())
    assets.save_bundle(folder, params, RUN, lineage)
    return params, lineage


def test_stages_beside_an_import_are_what_a_folder_means(tmp_path, caplog):
    imported, lineage = save_imported(tmp_path)
    file = tmp_path / assets.FILE_NAME
    assert assets.find_import(tmp_path) == (file, "imported")
    assert_same(assets.load_weights(tmp_path).params, imported)
    assert not caplog.messages
    trained = make_params()
    save_stage(tmp_path / "single_turn", trained, lineage)
    assert not assets.is_bundle(tmp_path)
    assert_same(assets.load_weights(tmp_path).params, trained)
    assert assets.peek(tmp_path) == ("single_turn", 8)
    assert "reading the latest" in caplog.text and "single_turn" in caplog.text
    # The import stays what can be named, and what a stage starts from.
    assert_same(assets.load_weights(file).params, imported)
    assert assets.peek(file) == ("imported", 0)
    assert assets.find_import(tmp_path) == (file, "imported")
    assert assets.find_import(tmp_path / "single_turn") is None


def test_what_went_further_than_the_stages_beside_it_is_read(tmp_path):
    """Such as the exported result of a curriculum in its own workdir."""
    first = make_lineage(make_params(1))
    params = make_params(2)
    save_stage(tmp_path / "single_turn", make_params(1))
    assets.save_bundle(tmp_path, params, RUN, make_lineage(params, first))
    assert assets.is_bundle(tmp_path)
    assert_same(assets.load_weights(tmp_path).params, params)


def test_another_networks_file_beside_stages_is_none_of_theirs(tmp_path):
    save_stage(tmp_path / "single_turn", make_params())
    save_file({"w": np.zeros(2)}, tmp_path / assets.FILE_NAME)
    assert assets.find_import(tmp_path) is None
    assert assets.load_weights(tmp_path).lineage.step == 8
