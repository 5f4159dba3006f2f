"""The codec's weights from a file of the VAE. Nothing is downloaded."""

from pathlib import Path
from typing import Any

from anchoredit_jax.convert.source import open_weights
from anchoredit_jax.convert.vae_names import still_image
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.wan_vae import WanVaeConfig


def load_vae(path: str | Path, config: WanVaeConfig) -> dict[str, Any]:
    """What `WanCodec` takes, float32, from whatever holds a VAE.

    Args:
      path: the original `Wan2.1_VAE.pth`, a file or folder of diffusers, or what
        launch/convert.py made of them.

    Raises:
      UserError: see `open_weights`; or the VAE is of another size.
    """
    source = open_weights(path, network="vae")
    for name in ("dim", "latent_channels", "multipliers", "blocks", "temporal"):
        given, wanted = getattr(source.config, name), getattr(config, name)
        if given != wanted:
            raise UserError(
                f"{str(path)!r} holds a VAE of {name} {given}, expected {wanted}"
            )
    return still_image(source.tree(), config)
