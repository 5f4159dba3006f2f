"""The Wan 2.1 VAE for still images, and the codec made of it."""

from anchoredit_jax.models.wan_vae.codec import (
    TILE,
    WanCodec,
    decode,
    encode,
    init_params,
)
from anchoredit_jax.models.wan_vae.config import (
    SIZES,
    WAN_MEAN,
    WAN_STD,
    WanVaeConfig,
    make_vae_config,
)
from anchoredit_jax.models.wan_vae.decoder import Decoder
from anchoredit_jax.models.wan_vae.encoder import Encoder

__all__ = [
    "SIZES",
    "TILE",
    "WAN_MEAN",
    "WAN_STD",
    "Decoder",
    "Encoder",
    "WanCodec",
    "WanVaeConfig",
    "decode",
    "encode",
    "init_params",
    "make_vae_config",
]
