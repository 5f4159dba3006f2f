"""Where everything lies: logical axes of parameters, and the mesh axes they take.

Two tables. `PARAMETERS` names the axes of every parameter by the end of its path;
optimizer moments, averages, teacher and critic have the same paths at their ends, so
they follow. `RULES` gives a logical axis its mesh axes, of which it takes as many, from
the first, as divide its size.

Devices that share a sequence (`context`) hold different parts of the parameters, like
those of `fsdp`: a layer's are gathered when it is computed, in any case.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from anchoredit_jax.trees import leaves_by_name

RULES: Mapping[str, tuple[str, ...]] = {
    "layers": (),  # scanned
    "embed": ("fsdp", "context"),
    "heads": ("tensor",),
    "mlp": ("tensor",),
    "heads_in": ("tensor", "fsdp", "context"),
    "mlp_in": ("tensor", "fsdp", "context"),
    "text": ("fsdp", "context"),
    "other": (),
    "batch": ("data", "fsdp"),
}
# What a program's activations are laid out by; `flax.linen` looks names up here.
ACTIVATION_RULES = (
    ("layers", None),
    ("batch", RULES["batch"]),
    ("frame", None),
    ("token", "context"),
    ("heads", "tensor"),
    ("embed", None),
)

# End of a path -> logical axes, without the leading axis of stacked layers. A part of a
# kernel is whole rows of it: parts of rows would be padded to the 128 lanes of a TPU.
PARAMETERS: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    *((f"attn/{name}/kernel", ("embed", "heads")) for name in ("q", "k", "v")),
    ("attn/o/kernel", ("heads_in", None)),
    *((f"attn/{name}/bias", ("heads",)) for name in ("q", "k", "v")),
    ("ffn/fc1/kernel", ("embed", "mlp")),
    ("ffn/fc1/bias", ("mlp",)),
    ("ffn/fc2/kernel", ("mlp_in", None)),
    ("text_embedding/fc1/kernel", ("text", "mlp")),
    ("text_embedding/fc1/bias", ("mlp",)),
    ("text_embedding/fc2/kernel", ("mlp_in", None)),
    ("time_embedding/fc1/kernel", ("other", "embed")),
    ("time_embedding/fc2/kernel", ("other", "embed")),
    ("time_embedding/projection/kernel", ("embed", "mlp")),
    ("time_embedding/projection/bias", ("mlp",)),
    ("patch_embedding/kernel", ("other", "embed")),
    ("head/out/kernel", ("embed", "other")),
)


def logical_axes(path: str, rank: int) -> tuple[str | None, ...]:
    """Axes of an array of the train state; all None where no rule names it.

    Args:
      path: its keys joined by "/", "opt_state/1/0/mu/blocks/ffn/fc1/kernel".
    """
    for end, axes in PARAMETERS:
        if path.endswith(end) and rank - len(axes) in (0, 1):
            return (*["layers"] * (rank - len(axes)), *axes)
    return (None,) * rank


def partition(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """The mesh axes of an array's axes."""
    spec = []
    for axis, size in zip(logical_axes(path, len(shape)), shape, strict=True):
        taken = RULES[axis] if axis else ()
        while taken and size % math.prod(mesh.shape[name] for name in taken):
            taken = taken[:-1]
        spec.append(taken or None)
    return PartitionSpec(*spec)


def state_shardings(abstract: Any, mesh: Mesh) -> Any:
    """A sharding for every array of a tree of parameters or of a train state.

    Args:
      abstract: the tree, of arrays or shapes.
    """
    named = leaves_by_name(abstract)
    placed = iter(
        NamedSharding(mesh, partition(path, leaf.shape, mesh))
        for path, leaf in named.items()
    )
    return jax.tree.map(lambda _: next(placed), abstract)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Spread the rows of every array of a batch over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(RULES["batch"]))
