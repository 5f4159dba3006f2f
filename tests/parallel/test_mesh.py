"""Meshes and rules: what lies where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from anchoredit_jax.convert.transformer_names import tree_shapes
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.presets import make_config
from anchoredit_jax.parallel import MeshConfig, describe, make_mesh, state_shardings
from anchoredit_jax.parallel.rules import PARAMETERS, partition
from anchoredit_jax.stages.step import make_train_state
from anchoredit_jax.testing import tiny_run
from anchoredit_jax.trees import leaves_by_name


def test_sizes_fill_the_devices():
    assert MeshConfig().sizes(8) == (1, 1, 1, 1)
    assert MeshConfig(None).sizes(8) == (8, 1, 1, 1)
    assert MeshConfig(None, fsdp=4).sizes(8) == (2, 4, 1, 1)
    mesh = make_mesh(MeshConfig(data=1, fsdp=2, context=2, tensor=2))
    assert dict(mesh.shape) == dict(data=1, fsdp=2, context=2, tensor=2)
    assert describe(mesh) == "fsdp 2 x context 2 x tensor 2 (8)"
    assert describe(make_mesh(MeshConfig())) == "one device (1)"
    assert make_mesh(MeshConfig(2)).devices.ravel().tolist() == jax.devices()[:2]


@pytest.mark.parametrize(
    "config",
    [MeshConfig(fsdp=9), MeshConfig(None, fsdp=3), MeshConfig(data=2, slices=3)],
)
def test_sizes_that_do_not_fit_are_refused(config):
    with pytest.raises(UserError, match="does not fit 8 devices: the product must"):
        make_mesh(config)
    with pytest.raises(UserError, match=r"mesh.fsdp must be in \[1, 1e6\], given 0"):
        MeshConfig(fsdp=0)


def test_every_large_parameter_has_a_rule():
    """Of 14B, what is left whole on every device is a hundredth of a percent."""
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))
    leaves = leaves_by_name(tree_shapes(make_config("wan_14b")))
    whole = total = 0
    for path, leaf in leaves.items():
        size = int(np.prod(leaf.shape))
        total += size
        if partition(path, leaf.shape, mesh) == PartitionSpec(
            *[None] * len(leaf.shape)
        ):
            whole += size
    assert whole < 5e-4 * total
    used = {end for end, _ in PARAMETERS if any(path.endswith(end) for path in leaves)}
    assert used == {end for end, _ in PARAMETERS}


def test_moments_and_averages_lie_where_their_parameters_do():
    run = tiny_run("single_turn", model={"num_heads": 2})
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    state = jax.eval_shape(
        lambda: make_train_state(
            jax.tree.map(jnp.zeros_like, tree_of(run.model)), run.optimizer
        )
    )
    shardings = leaves_by_name(state_shardings(state, mesh))
    kernel = "blocks/ffn/fc1/kernel"
    wanted = PartitionSpec(None, ("fsdp", "context"), "tensor")
    assert shardings[f"params/{kernel}"].spec == wanted
    found = [path for path in shardings if path.endswith(kernel)]
    assert len(found) == 4  # params, ema and both moments
    assert all(shardings[path].spec == wanted for path in found)
    assert shardings["step"].spec == PartitionSpec()


def tree_of(model):
    return jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree_shapes(model)
    )


def test_an_axis_that_does_not_divide_stays_whole():
    mesh = make_mesh(MeshConfig(data=1, fsdp=4, context=2))
    path = "blocks/self_attn/q/kernel"
    assert partition(path, (3, 16, 16), mesh)[1] == ("fsdp", "context")
    assert partition(path, (3, 12, 16), mesh)[1] == "fsdp"
    assert partition(path, (3, 10, 16), mesh)[1] is None
