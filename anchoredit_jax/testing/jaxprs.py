"""Looking into programs: what they compute, and in which dtype."""

from collections.abc import Iterator
from typing import Any

import jax


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr, those of scans, calls and branches among them."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in equation.params.values():
            for inner in jax.tree.leaves(parameter, is_leaf=_is_program):
                if _is_program(inner):
                    yield from equations(getattr(inner, "jaxpr", inner))


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")
