"""Every stage on every mesh: the numbers of one device, in the places of the rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.data.placement import place
from anchoredit_jax.parallel import (
    MeshConfig,
    batch_sharding,
    make_mesh,
    state_shardings,
)
from anchoredit_jax.parallel.sharded import make_on_mesh
from anchoredit_jax.stages.table import STAGES
from anchoredit_jax.testing import tiny_batch, tiny_params, tiny_run
from anchoredit_jax.trees import leaves_by_name

MESHES = {  # data x fsdp x context x tensor
    "8x1x1x1": MeshConfig(8),
    "1x8x1x1": MeshConfig(1, fsdp=8),
    "2x2x2x1": MeshConfig(2, fsdp=2, context=2),
    "1x2x2x2": MeshConfig(1, fsdp=2, context=2, tensor=2),
    "1x1x4x2": MeshConfig(1, context=4, tensor=2),
}
OPTIONS = {
    "single_turn": {},
    "causal_forcing": dict(rollout=dict(kind="one_pass"), degrade=dict(blur=0.5)),
    "consistency": {},
    "distribution_matching": dict(critic_ratio=2),
}
BATCH, STEPS = 8, 5


@functools.lru_cache
def trained(stage, mesh_name):
    """(losses, state) after five steps; mesh None is one device."""
    run = tiny_run(stage, options=OPTIONS[stage], sampler=dict(steps=1))
    module = STAGES[stage]
    params = jax.tree.map(jnp.asarray, tiny_params())
    parent = dict(params=params, ema=params, teacher=params)
    init = functools.partial(module.init_state, run)
    if mesh_name is None:
        state, step = init(parent), module.make_train_step(run)
    else:
        mesh = make_mesh(MESHES[mesh_name])
        state = make_on_mesh(init, mesh, parent)
        step = module.make_train_step(run, mesh=mesh)
    losses = []
    for index in range(STEPS):
        batch = tiny_batch(BATCH, frames=3, seed=index)
        if mesh_name is not None:
            batch = place(batch, batch_sharding(mesh))
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, state


def check(stage, mesh_name):
    wanted, alone = trained(stage, None)
    losses, state = trained(stage, mesh_name)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=1e-5)
    ours, theirs = leaves_by_name(state), leaves_by_name(alone)
    for path, leaf in ours.items():
        if not path.startswith(("params/", "ema/", "critic/")):
            continue
        want = np.asarray(theirs[path], np.float64)
        difference = np.linalg.norm(np.asarray(leaf, np.float64) - want)
        assert difference < 1e-5 * np.linalg.norm(want), (path, difference)


@pytest.mark.parametrize(
    ("stage", "mesh_name"),
    [
        ("single_turn", "1x2x2x2"),
        ("causal_forcing", "2x2x2x1"),
        pytest.param("consistency", "8x1x1x1", marks=pytest.mark.slow),
        pytest.param("distribution_matching", "1x1x4x2", marks=pytest.mark.slow),
    ],
)
def test_numbers_of_one_device(stage, mesh_name):
    check(stage, mesh_name)


@pytest.mark.long
@pytest.mark.parametrize("mesh_name", MESHES)
@pytest.mark.parametrize("stage", OPTIONS)
def test_numbers_of_one_device_everywhere(stage, mesh_name):
    check(stage, mesh_name)


def test_everything_lies_where_the_rules_say_after_steps():
    _, state = trained("single_turn", "1x2x2x2")
    mesh = make_mesh(MESHES["1x2x2x2"])
    wanted = leaves_by_name(state_shardings(state, mesh))
    for path, leaf in leaves_by_name(state).items():
        assert leaf.sharding.is_equivalent_to(wanted[path], leaf.ndim), path
    kernel = state.params["blocks"]["ffn"]["fc1"]["kernel"]
    shard = kernel.addressable_shards[0].data
    assert shard.size * 8 == kernel.size and not kernel.is_fully_replicated
