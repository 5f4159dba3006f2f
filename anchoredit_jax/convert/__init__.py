"""Weights in and out: name maps, published files, and moving weights between them."""

from anchoredit_jax.convert.describing import check, describe
from anchoredit_jax.convert.exporting import describe_weights, export_weights
from anchoredit_jax.convert.importing import import_kinds, import_weights
from anchoredit_jax.convert.pipeline import export_pipeline
from anchoredit_jax.convert.source import Source, open_weights
from anchoredit_jax.convert.umt5_folder import load_umt5
from anchoredit_jax.convert.vae_file import load_vae
from anchoredit_jax.convert.verifying import Comparison, compare_weights

__all__ = [
    "Comparison",
    "Source",
    "check",
    "compare_weights",
    "describe",
    "describe_weights",
    "export_pipeline",
    "export_weights",
    "import_kinds",
    "import_weights",
    "load_umt5",
    "load_vae",
    "open_weights",
]
