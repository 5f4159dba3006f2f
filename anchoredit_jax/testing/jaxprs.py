"""Looking into programs: what they compute, and in which dtype."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import jax


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr, those of scans, calls and branches among them."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation):
            yield from equations(inner)


def matrix_products(jaxpr: Any, trips: Iterable[int] = ()) -> int:
    """Operations of all matrix products of a jaxpr, 2 m k n each.

    A scan counts as often as it runs, of branches the one that does most.

    Args:
      trips: how often each while loop that holds products runs, in program order.
    """
    return _products(jaxpr, iter(trips))


def _products(jaxpr: Any, trips: Iterator[int]) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            sizes = [equation.invars[0].aval.shape[axis] for axis in contracted]
            total += 2 * equation.outvars[0].aval.size * math.prod(sizes)
        elif name == "while":
            total += _while(equation, trips)
        else:
            inner = [_products(program, trips) for program in _inner(equation)]
            times = equation.params["length"] if name == "scan" else 1
            total += times * (max(inner) if name == "cond" else sum(inner))
    return total


def _while(equation: Any, trips: Iterator[int]) -> int:
    body = equation.params["body_jaxpr"].jaxpr
    if not any(e.primitive.name == "dot_general" for e in equations(body)):
        return 0
    return next(trips) * _products(body, trips)


def _inner(equation: Any) -> Iterator[Any]:
    """The programs that an equation calls."""
    for parameter in equation.params.values():
        for inner in jax.tree.leaves(parameter, is_leaf=_is_program):
            if _is_program(inner):
                yield getattr(inner, "jaxpr", inner)


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
