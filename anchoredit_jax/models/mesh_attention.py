"""Attention on a mesh: every device attends for heads, or for queries, of its own.

Between layers a device holds some tokens of every frame (axis `token`) and some heads
(`heads`). So under any rule between frames all devices have the same work. To attend,
the devices of the token axis

  - trade tokens for heads where the heads divide (all-to-all): each then has the whole
    sequence, for fewer heads;
  - else gather keys and values (all-gather), and each attends with its own queries.

Which mesh axes these are say the logical axis rules in force. Outside of a mesh arrays
stay whole; rows do so where they do not split (one session). Tokens or heads that do
not are refused: every device would do all the work.
"""

import functools
import math
from collections.abc import Callable, Mapping

import jax
from flax import linen as nn
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from anchoredit_jax.arrays import Array, Float
from anchoredit_jax.errors import UserError

Attend = Callable[..., jax.Array]
Axes = str | tuple[str, ...] | None  # of a mesh


def attend_on_mesh(
    attend: Attend,
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B F M N H"],
    value: Float[Array, "B F M N H"],
    *rules: Array | None,
    same_tokens: bool = True,
) -> Float[Array, "B T L N H"]:
    """`attend(query, key, value, *rules)`, by every device for its part.

    Args:
      attend: what one device does.
      query: of T frames.
      key, value: of F frames.
      rules: arrays [B or 1, ...] or None, handed on by rows.
      same_tokens: whether the M tokens of keys lie on the mesh as the L of queries do;
        else every device has all keys of its heads (prompts).

    Raises:
      UserError: the mesh does not divide the tokens or the heads, see `check_divides`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return attend(query, key, value, *rules)
    names = ("batch", "token", "heads")
    batch, token, heads = nn.logical_to_mesh_axes(names) or (None,) * 3
    check_divides(mesh.shape, tokens=query.shape[2], heads=query.shape[3])
    batch = _dividing(batch, mesh, query.shape[0])
    token = _dividing(token, mesh, query.shape[2])
    heads = _dividing(heads, mesh, query.shape[3])
    if same_tokens and key.shape[2] != query.shape[2]:
        raise ValueError(
            f"keys of {key.shape[2]} tokens a frame beside queries of {query.shape[2]}"
        )
    of_queries = PartitionSpec(batch, None, token, heads)
    of_keys = of_queries if same_tokens else PartitionSpec(batch, None, None, heads)
    of_rules = tuple(
        PartitionSpec(batch if x is not None and len(x) == len(query) else None)
        for x in rules
    )
    if same_tokens and token is not None:
        attend = functools.partial(_across_tokens, attend, token, mesh.shape[token])
    return jax.shard_map(
        attend,
        in_specs=(of_queries, of_keys, of_keys, *of_rules),
        out_specs=of_queries,
        check_vma=False,  # kernels do not say on which axes their outputs vary
    )(query, key, value, *rules)


def check_divides(
    axes: Mapping[str, int], *, tokens: int | None = None, heads: int | None = None
) -> None:
    """Refuse what the axes of a mesh cannot split evenly.

    Args:
      axes: devices along each axis, `mesh.shape`.
      tokens: how many a frame has, which `context` splits.
      heads: how many the model has, which `tensor` splits.

    Raises:
      UserError: with the number, the axis, and what to choose.
    """
    devices = axes.get("context", 1)
    if tokens is not None and tokens % devices:
        raise UserError(
            f"a frame of {tokens} tokens does not split over mesh.context={devices}, "
            f"{tokens % devices} are left over: choose image sizes whose tokens "
            f"{devices} divides (a coarser step of the buckets), or a mesh.context "
            f"that divides {tokens}, such as {math.gcd(tokens, devices)}"
        )
    devices = axes.get("tensor", 1)
    if heads is not None and heads % devices:
        raise UserError(
            f"{heads} heads do not split over mesh.tensor={devices}: choose a "
            f"mesh.tensor that divides {heads}, such as {math.gcd(heads, devices)}"
        )


def _across_tokens(
    attend: Attend,
    axis: str | tuple[str, ...],
    devices: int,
    query: Float[Array, "B T L N H"],
    key: Float[Array, "B F M N H"],
    value: Float[Array, "B F M N H"],
    *rules: Array | None,
) -> Float[Array, "B T L N H"]:
    """`attend` on one device of the axis that tokens are split over."""
    if query.shape[3] % devices:
        key, value = (lax.all_gather(x, axis, axis=2, tiled=True) for x in (key, value))
        return attend(query, key, value, *rules)

    def trade(x: Array, split: int, concat: int) -> Array:
        return lax.all_to_all(x, axis, split, concat, tiled=True)

    query, key, value = (trade(x, 3, 2) for x in (query, key, value))
    return trade(attend(query, key, value, *rules), 2, 3)


def _dividing(axes: Axes, mesh: jax.sharding.AbstractMesh | Mesh, length: int) -> Axes:
    """The mesh axes if they cut a length into equal parts, else None."""
    if axes is None:
        return None
    parts = 1
    for axis in (axes,) if isinstance(axes, str) else axes:
        parts *= mesh.shape[axis]
    return axes if parts > 1 and length % parts == 0 else None
