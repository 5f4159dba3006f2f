"""Name maps between our parameters and published weights, and files of both."""

from anchoredit_jax.convert.umt5_folder import load_umt5
from anchoredit_jax.convert.vae_file import load_vae

__all__ = ["load_umt5", "load_vae"]
