"""Name maps between our parameters and published weights."""

from anchoredit_jax.convert.umt5_folder import load_umt5
from anchoredit_jax.convert.vae_weights import (
    VaeWeights,
    export_vae,
    import_vae,
    load_vae,
)

__all__ = [
    "VaeWeights",
    "export_vae",
    "import_vae",
    "load_umt5",
    "load_vae",
]
