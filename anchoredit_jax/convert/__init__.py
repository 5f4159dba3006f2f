"""Name maps between our parameters and published weights."""

from anchoredit_jax.convert.transformer_names import from_wan
from anchoredit_jax.convert.umt5_folder import load_umt5

__all__ = ["from_wan", "load_umt5"]
