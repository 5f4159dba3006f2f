import json
import logging
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax.sharding import NamedSharding, PartitionSpec

from anchoredit_jax.checkpoint import manager
from anchoredit_jax.errors import UserError


@struct.dataclass
class State:
    step: jax.Array
    params: Any
    opt_state: Any
    ema: Any
    teacher: Any = None


def make_state(seed=0, step=0, teacher=None):
    params = {
        "block": {"kernel": jax.random.normal(jax.random.key(seed), (16, 8))},
        "bias": jnp.arange(8.0, dtype=jnp.bfloat16),
    }
    return State(
        step=jnp.int32(step),
        params=params,
        opt_state=optax.adam(1e-3).init(params),
        ema=jax.tree.map(lambda leaf: leaf * 2, params),
        teacher=teacher,
    )


def abstract(state):
    return jax.eval_shape(lambda: state)


def save_steps(folder, states, keep=None):
    saver = manager.open_manager(folder, keep)
    for state in states:
        manager.save(saver, int(state.step), state, {"note": f"of {state.step}"})
    saver.wait_until_finished()
    saver.close()


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_every_leaf_comes_back_bit_equal_in_the_same_structure(tmp_path):
    state = make_state(step=7)
    save_steps(tmp_path, [state])
    restored = manager.restore(tmp_path / "7", abstract(state))
    assert_same(restored, state)
    assert restored.teacher is None
    assert manager.read_meta(tmp_path / "7") == {"note": "of 7"}


def test_a_state_saved_and_then_donated_is_saved_as_it_was(tmp_path):
    # Saving is asynchronous; the training step reuses the state's memory right away.
    state = State(jnp.int32(0), {"w": jnp.zeros(1_000_000)}, None, {"w": jnp.ones(3)})
    step = jax.jit(
        lambda s: jax.tree.map(lambda leaf: leaf + jnp.ones((), leaf.dtype), s),
        donate_argnums=0,
    )
    saver = manager.open_manager(tmp_path, None)
    for count in range(1, 4):
        state = step(state)
        manager.save(saver, count, state, {})
        for _ in range(5):  # goes on while the save is under way
            state = step(state)
    saver.wait_until_finished()
    saver.close()
    for count in range(1, 4):
        saved = manager.read_item(tmp_path / str(count), "params")["w"]
        assert np.unique(np.asarray(saved)).tolist() == [count + 5 * (count - 1)]


def test_only_the_latest_checkpoints_are_kept(tmp_path):
    save_steps(tmp_path, [make_state(step=step) for step in (1, 2, 3)], keep=2)
    assert manager.committed_steps(tmp_path) == [2, 3]
    assert manager.latest_step(tmp_path) == 3


def test_no_checkpoints_is_no_step(tmp_path):
    assert manager.latest_step(tmp_path / "absent") is None
    assert manager.latest_step(tmp_path) is None


@pytest.mark.parametrize("torn", ["temporary", "empty", "uncommitted"])
def test_an_interrupted_save_is_named_ignored_and_can_be_saved_again(
    tmp_path, caplog, torn
):
    save_steps(tmp_path, [make_state(step=3), make_state(step=6)])
    last = tmp_path / "6"
    if torn == "temporary":
        last.rename(tmp_path / "6.orbax-checkpoint-tmp")
    elif torn == "empty":
        shutil.rmtree(last)
        last.mkdir()
    else:
        record = json.loads((last / "_CHECKPOINT_METADATA").read_text())
        record["commit_timestamp_nsecs"] = None
        (last / "_CHECKPOINT_METADATA").write_text(json.dumps(record))
    with caplog.at_level(logging.WARNING):
        assert manager.latest_step(tmp_path) == 3
    assert "6" in caplog.text and "incomplete" in caplog.text
    state = make_state(seed=5, step=6)
    save_steps(tmp_path, [state])
    assert_same(manager.restore(last, abstract(state)), state)


@pytest.mark.parametrize("mesh_shape", [(1, 1), (4, 2), (8, 1)])
def test_restores_onto_another_mesh_with_the_shardings_asked_for(tmp_path, mesh_shape):
    # User report 8 and 9: what 8 devices saved is read by 1, by 8 in another layout.
    saving = jax.make_mesh((2, 4), ("a", "b"), devices=jax.devices()[:8])
    state = make_state(step=1)
    kernel = state.params["block"]["kernel"]
    split = jax.device_put(kernel, NamedSharding(saving, PartitionSpec("a", "b")))
    state.params["block"]["kernel"] = split
    save_steps(tmp_path, [state])

    count = mesh_shape[0] * mesh_shape[1]
    mesh = jax.make_mesh(mesh_shape, ("a", "b"), devices=jax.devices()[:count])
    target = abstract(state)
    wanted = NamedSharding(mesh, PartitionSpec("a", "b"))
    target.params["block"]["kernel"] = jax.ShapeDtypeStruct(
        kernel.shape, kernel.dtype, sharding=wanted
    )
    restored = manager.restore(tmp_path / "1", target)
    assert restored.params["block"]["kernel"].sharding == wanted
    assert_same(restored, state)
    # Without shardings, everything goes to one device, whatever it was saved from.
    alone = manager.restore(tmp_path / "1", abstract(make_state(step=1)))
    assert {leaf.sharding.num_devices for leaf in jax.tree.leaves(alone)} == {1}
    assert_same(alone, state)


def test_shapes_are_readable_without_the_arrays_and_one_item_alone(tmp_path):
    state = make_state(step=2)
    save_steps(tmp_path, [state])
    shapes = manager.tree_shapes(tmp_path / "2")
    assert set(shapes) == {"step", "params", "opt_state", "ema"}
    assert shapes["ema"]["block"]["kernel"].shape == (16, 8)
    assert shapes["ema"]["bias"].dtype == jnp.bfloat16
    assert_same(manager.read_item(tmp_path / "2", "ema"), state.ema)
    with pytest.raises(UserError, match="holds no 'teacher'"):
        manager.read_item(tmp_path / "2", "teacher")


def test_a_state_of_another_make_is_refused(tmp_path):
    save_steps(tmp_path, [make_state(step=1)])
    with pytest.raises(UserError, match="another stage"):
        manager.restore(
            tmp_path / "1", abstract(make_state(teacher={"w": jnp.ones((2,))}))
        )
    other = make_state()
    other.params["bias"] = jnp.zeros((9,))
    said = r"params/bias is bfloat16\[8\], wanted float32\[9\]"
    with pytest.raises(UserError, match=said):
        manager.restore(tmp_path / "1", abstract(other))


class RefusingSaver:
    """What an Orbax manager does after a background save failed, or in a race."""

    directory = "checkpoints"

    def __init__(self, error=None):
        self.error = error

    def check_for_errors(self):
        if self.error:
            raise self.error

    def save(self, *_, **__):
        return False


@pytest.mark.parametrize("error", [OSError("disk full"), None])
def test_a_save_that_failed_or_did_not_happen_stops_the_run(error):
    with pytest.raises((OSError, RuntimeError), match="disk full|was not saved"):
        manager.save(RefusingSaver(error), 1, make_state(step=1), {})
