"""The codec's weights from a published VAE file. Nothing is downloaded."""

from pathlib import Path
from typing import Any

from anchoredit_jax.convert.tensor_files import open_tensors
from anchoredit_jax.convert.vae_names import from_published, still_image
from anchoredit_jax.models.wan_vae import WanVaeConfig


def load_vae(path: str | Path, config: WanVaeConfig) -> dict[str, Any]:
    """What `WanCodec` takes, float32, from a file of any dialect.

    Args:
      path: the original `Wan2.1_VAE.pth`, that of diffusers, or either as safetensors.

    Raises:
      UserError: see `open_tensors` and `vae_names.from_published`.
    """
    return still_image(from_published(open_tensors([path]), config), config)
