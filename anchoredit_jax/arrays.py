"""Types of arrays in signatures, such as `Float[Array, "B T D"]`.

The letters are those of `models/__init__.py`. Tests check shapes and dtypes at run time
(`tests/conftest.py`); for users annotations cost nothing. Arrays of numpy are taken too
wherever jax's are, which a type checker need not consider.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Integer, Key, Real, Shaped

if TYPE_CHECKING:
    Array = jax.Array
else:
    Array = jax.Array | np.ndarray | np.generic

Params = Mapping[str, Any]  # parameters of a network: nested, of arrays

__all__ = [
    "Array",
    "Bool",
    "Float",
    "Float32",
    "Int",
    "Int32",
    "Integer",
    "Key",
    "Params",
    "Real",
    "Shaped",
]
