"""The device mesh: four named axes, and slices that a slower network joins."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from anchoredit_jax.errors import UserError
from anchoredit_jax.parallel.rules import ACTIVATION_RULES
from anchoredit_jax.strict import Bounded, way

AXES = ("data", "fsdp", "context", "tensor")


@dataclasses.dataclass(frozen=True)
class MeshConfig(Bounded):
    """How devices are split (docs/method.md, Devices).

    Attributes:
      data: copies of the model, each with its own part of the batch; None takes all
        devices that the other axes leave. A mesh of fewer devices than there are uses
        the first ones.
      fsdp: parts that parameters and optimizer state are cut into; the batch too.
      context: parts of a sequence's tokens.
      tensor: parts of heads and of the MLP's width.
      slices: parts of a pod that the data-centre network joins; they multiply `data`.
    """

    data: int | None = way(1, within="[1, 1e6]")
    fsdp: int = way(1, within="[1, 1e6]")
    context: int = way(1, within="[1, 1e6]")
    tensor: int = way(1, within="[1, 1e6]")
    slices: int = way(1, within="[1, 1e6]")

    def sizes(self, devices: int) -> tuple[int, ...]:
        """Devices along each of `AXES`.

        Raises:
          UserError: they do not make up the number of devices.
        """
        others = self.fsdp * self.context * self.tensor
        data = max(devices // others, 1) if self.data is None else self.data
        if (
            data * others > devices
            or data % self.slices
            or (self.data is None and data * others != devices)
        ):
            axes = f"data {self.data or 'the rest'}, fsdp {self.fsdp}, context "
            axes += f"{self.context}, tensor {self.tensor}, {self.slices} slices"
            raise UserError(
                f"a mesh of {axes} does not fit {devices} devices: the product must "
                "not be larger, and data a multiple of the slices"
            )
        return data, self.fsdp, self.context, self.tensor


def make_mesh(
    config: MeshConfig = MeshConfig(),  # noqa: B008  (frozen)
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """A mesh of `AXES` over all devices, or over those given.

    Within a slice the devices lie along the axes as the chips' network does; `data`
    crosses slices.

    Raises:
      UserError: the sizes do not make up the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = config.sizes(len(devices))
    devices = devices[: math.prod(sizes)]
    if config.slices > 1 and hasattr(devices[0], "slice_index"):
        within = (sizes[0] // config.slices, *sizes[1:])
        grid = mesh_utils.create_hybrid_device_mesh(
            within,
            (config.slices, 1, 1, 1),
            devices,
            allow_split_physical_axes=True,
        )
    elif devices[0].platform == "cpu":
        grid = np.array(devices).reshape(sizes)
    else:
        # Split: an axis may take a part of a dimension of the chips' network, 64 x 4
        # of 16 x 16.
        grid = mesh_utils.create_device_mesh(
            sizes, devices, allow_split_physical_axes=True
        )
    # Auto: shardings of what is computed follow from those of state and batch.
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


@contextlib.contextmanager
def using(mesh: Mesh) -> Iterator[None]:
    """Programs traced inside lay their activations out on this mesh."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(ACTIVATION_RULES):
        yield


def describe(mesh: Mesh) -> str:
    """`data 2 x fsdp 4 (8 devices)`, axes of 1 left out."""
    told = [f"{axis} {size}" for axis, size in mesh.shape.items() if size > 1]
    return f"{' x '.join(told) or 'one device'} ({math.prod(mesh.shape.values())})"
