"""Functions of arrays whose derivatives are written by hand, in both modes.

`jax.custom_vjp` has no forward mode. `jax.custom_jvp` gets its reverse mode from the
tangents, transposed operation by operation, which keeps and computes more than a
backward pass that is written as one. A function called through `differentiable` has
tangents for forward mode and a backward pass for reverse mode. Both may be
differentiated again, as losses that contain a derivative of the network need.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def differentiable(
    forward: Callable[..., tuple[jax.Array, Any]],
    tangent: Callable[..., jax.Array],
    backward: Callable[[Any, jax.Array], tuple],
    *args: Any,
    alone: Callable[..., jax.Array] | None = None,
) -> jax.Array:
    """The array that `forward(*args)` gives first, with the derivatives given.

    Args:
      forward: (*args) -> (out, kept), where `kept` is what the derivatives read.
      tangent: (kept, *tangents) -> the tangent of `out`, linear in the tangents of
        `args`. Arrays that are not real, such as masks, have None for a tangent.
      backward: (kept, cotangent of `out`) -> the cotangents of `args`, the transpose
        of `tangent`. What it gives for arrays that are not real is not read.
      args: pytrees of arrays.
      alone: (*args) -> out, where no derivative is taken; by default that of `forward`.
    """
    leaves, tree = jax.tree.flatten(args)
    real = [jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) for leaf in leaves]

    @jax.custom_jvp
    def function(*args: Any) -> jax.Array:
        return forward(*args)[0] if alone is None else alone(*args)

    @function.defjvp
    def _(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
        out, kept = forward(*primals)
        kept, kept_tree = jax.tree.flatten(kept)

        def linear(*arrays: Any) -> jax.Array:
            moved = iter(arrays[len(kept) :])
            tangents = tree.unflatten([next(moved) if r else None for r in real])
            return tangent(kept_tree.unflatten(arrays[: len(kept)]), *tangents)

        def transposed(*arrays: Any) -> list[jax.Array]:
            given = backward(kept_tree.unflatten(arrays[:-1]), arrays[-1])
            return _of_real(tree.flatten_up_to(given))

        return out, _linear.bind(
            *kept,
            *_of_real(tree.flatten_up_to(tangents)),
            kept=len(kept),
            out=jax.typeof(out),
            linear=linear,
            transposed=transposed,
        )

    def _of_real(arrays: list) -> list:
        return [array for array, is_real in zip(arrays, real, strict=True) if is_real]

    return function(*args)


def with_tangents_of(
    plain: Callable[..., jax.Array], kernel: Callable[..., jax.Array], *args: Any
) -> jax.Array:
    """`kernel(*args)` with its own backward pass, in forward mode the tangents of
    `plain(*args)`, which is the same function: for kernels without a forward mode."""

    def forward(*args: Any) -> tuple[jax.Array, Any]:
        out, pull = jax.vjp(kernel, *args)
        return out, (args, pull)

    def tangent(kept: Any, *tangents: Any) -> jax.Array:
        primals, tree = jax.tree.flatten(kept[0])
        whole = [
            np.zeros(primal.shape, jax.dtypes.float0) if moved is None else moved
            for primal, moved in zip(primals, tree.flatten_up_to(tangents), strict=True)
        ]
        return jax.jvp(plain, kept[0], tree.unflatten(whole))[1]

    def backward(kept: Any, gradient: jax.Array) -> tuple:
        return kept[1](gradient)

    return differentiable(forward, tangent, backward, *args, alone=kernel)


# linear(*kept, *tangents), known as linear in the tangents by its transpose,
# transposed(*kept, cotangent).
_linear = Primitive("linear_with_transpose")


@_linear.def_impl
def _evaluate(*arrays: Any, linear: Callable, **_: Any) -> jax.Array:
    return linear(*arrays)


@_linear.def_abstract_eval
def _shape(*_: Any, out: ShapedArray, **__: Any) -> ShapedArray:
    return out


def _jvp(
    primals: Any, tangents: Any, *, kept: int, linear: Callable, **rest: Any
) -> tuple[Any, Any]:
    still = all(type(tangent) is ad.Zero for tangent in tangents[:kept])
    moved = tuple(ad.instantiate_zeros(tangent) for tangent in tangents)
    if not still:
        return jax.jvp(linear, tuple(primals), moved)
    rest |= dict(kept=kept, linear=linear)
    moved = (*primals[:kept], *moved[kept:])
    return _linear.bind(*primals, **rest), _linear.bind(*moved, **rest)


def _transpose(
    cotangent: Any, *arrays: Any, kept: int, transposed: Callable, **_: Any
) -> list:
    asked = [ad.is_undefined_primal(array) for array in arrays[kept:]]
    given = transposed(*arrays[:kept], ad.instantiate_zeros(cotangent))
    wanted = [x if is_asked else None for x, is_asked in zip(given, asked, strict=True)]
    return [None] * kept + wanted


def _batch(
    arrays: Any,
    axes: Any,
    *,
    kept: int,
    out: ShapedArray,
    linear: Callable,
    transposed: Callable,
) -> tuple[Any, int]:
    size = next(
        x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None
    )
    tangents = [
        batching.bdim_at_front(x, axis, size)
        for x, axis in zip(arrays[kept:], axes[kept:], strict=True)
    ]
    batched = _linear.bind(
        *arrays[:kept],
        *tangents,
        kept=kept,
        out=ShapedArray((size, *out.shape), out.dtype),
        linear=jax.vmap(linear, (*axes[:kept], *[0] * len(tangents))),
        transposed=jax.vmap(transposed, (*axes[:kept], 0)),
    )
    return batched, 0


ad.primitive_jvps[_linear] = _jvp
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _batch
mlir.register_lowering(_linear, mlir.lower_fun(_evaluate, multiple_results=False))
