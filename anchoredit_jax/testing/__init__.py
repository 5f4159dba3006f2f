"""What tests of this package and of its users share: a tiny model and its batches."""

from anchoredit_jax.testing.compilations import record_compilations
from anchoredit_jax.testing.jaxprs import equations, matrix_products
from anchoredit_jax.testing.tiny import tiny_batch, tiny_model, tiny_params, tiny_run

__all__ = [
    "equations",
    "matrix_products",
    "record_compilations",
    "tiny_batch",
    "tiny_model",
    "tiny_params",
    "tiny_run",
]
