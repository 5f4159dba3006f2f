"""Name maps between our parameters and published weights."""

from anchoredit_jax.convert.transformer_names import from_wan

__all__ = ["from_wan"]
