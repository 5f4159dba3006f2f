"""`model.attention`: the kernel of the device at hand, others refused in one line."""

import jax
import jax.numpy as jnp
import pytest

from anchoredit_jax.convert.transformer_names import tree_shapes
from anchoredit_jax.errors import UserError
from anchoredit_jax.models import Transformer, TransformerConfig, kernels
from anchoredit_jax.models.kernels import attention_kernel
from anchoredit_jax.parallel import make_mesh, using
from anchoredit_jax.testing import tiny_batch, tiny_model, tiny_params


class Device:
    """What is read of a device."""

    def __init__(self, platform, device_kind, compute_capability="9.0"):
        self.platform, self.device_kind = platform, device_kind
        self.compute_capability = compute_capability


CPU = Device("cpu", "cpu")
TPU = Device("tpu", "TPU v5")
H200 = Device("gpu", "NVIDIA H200")
V100 = Device("gpu", "Tesla V100-SXM2-16GB", "7.0")
MI300 = Device("gpu", "AMD Instinct MI300X")


def a_model(**changes):
    return tiny_model(**{"dim": 64, "num_heads": 2, "dtype": "bfloat16", **changes})


@pytest.mark.parametrize(
    ("device", "changes", "kernel"),
    [
        (CPU, {}, "prefix"),
        (TPU, {}, "splash"),
        (TPU, {"dtype": "float32"}, "splash"),
        (H200, {}, "cudnn"),
        (H200, {"dtype": "float32"}, "prefix"),
        (H200, {"dim": 60}, "prefix"),  # heads of 30 channels
        (V100, {}, "prefix"),
        (MI300, {}, "prefix"),
    ],
)
def test_auto_is_the_kernel_of_the_device(device, changes, kernel):
    assert attention_kernel(a_model(**changes), device) == kernel


def test_auto_is_the_default():
    assert TransformerConfig(dim=8, ffn_dim=8, num_heads=2, num_layers=1).attention == (
        "auto"
    )


@pytest.mark.parametrize(
    ("asked", "device", "message"),
    [
        ("splash", CPU, "attention=splash needs a TPU, the device is 'cpu': set model"),
        ("splash", H200, "needs a TPU, the device is 'NVIDIA H200'.*attention=auto"),
        ("cudnn", CPU, "attention=cudnn needs an NVIDIA GPU"),
        ("cudnn", MI300, "needs an NVIDIA GPU, the device is 'AMD"),
    ],
)
def test_a_kernel_that_the_device_lacks_is_refused(asked, device, message):
    with pytest.raises(UserError, match=message):
        attention_kernel(a_model(attention=asked), device)


@pytest.mark.parametrize("asked", ["prefix", "xla", "dense"])
def test_what_runs_everywhere_is_taken_as_asked(asked):
    assert attention_kernel(a_model(attention=asked), TPU) == asked


@pytest.mark.parametrize("meshed", [False, True])
def test_the_network_refuses_before_anything_is_traced(meshed):
    batch = tiny_batch(1, 3)

    def forward(params):
        return Transformer(tiny_model(attention="splash")).apply(
            {"params": params}, batch["latents"], jnp.ones((1, 3)), batch["text"]
        )

    jitted = jax.jit(forward)
    with pytest.raises(UserError, match="attention=splash needs a TPU") as caught:
        if meshed:
            with using(make_mesh()):
                jitted(tiny_params())
        else:
            jitted(tiny_params())
    assert len(str(caught.value)) < 200


def test_parameters_have_their_shapes_on_any_device():
    """A stored configuration of a TPU is read on a CPU."""
    for dtype in ("float32", "bfloat16"):
        shapes = tree_shapes(tiny_model(attention="splash", dtype=dtype))
        assert jax.tree.structure(shapes) == jax.tree.structure(tiny_params())


def test_the_device_is_that_of_the_mesh_in_force():
    """A program compiled for elsewhere takes the kernel of there."""
    mesh = jax.sharding.AbstractMesh(
        (1,), ("data",), abstract_device=jax.sharding.AbstractDevice("TPU v5", 1, "tpu")
    )
    assert attention_kernel(a_model()) == "prefix"
    with jax.sharding.use_abstract_mesh(mesh):
        assert attention_kernel(a_model()) == "splash"
        assert kernels.device_at_hand().device_kind == "TPU v5"
