"""The codec and the text encoder that a configuration names, with their weights."""

import functools

import jax

from anchoredit_jax.checkpoint.checksums import check_finite
from anchoredit_jax.convert.umt5_folder import load_umt5
from anchoredit_jax.convert.vae_file import load_vae
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec, CodecConfig, PatchCodec
from anchoredit_jax.models.text import NgramTextEncoder, TextConfig, TextEncoder
from anchoredit_jax.models.wan_vae import WanCodec, init_params, make_vae_config
from anchoredit_jax.trees import leaves_by_name


def make_codec(config: CodecConfig) -> Codec:
    """The codec that `config` names.

    Raises:
      UserError: the Wan VAE's weights are not named, cannot be read, or not finite.
    """
    settings = config.wan_vae
    if settings is None:
        return PatchCodec(config.stride)
    vae = make_vae_config(settings.size, dtype=settings.dtype)
    if settings.weights is not None:
        params = jax.device_put(load_vae(settings.weights, vae))
        check_finite(leaves_by_name(params), f"the VAE's weights {settings.weights!r}")
    elif settings.size == "tiny":
        params = jax.jit(functools.partial(init_params, vae))(jax.random.key(0))
    else:
        raise UserError(
            "codec.kind 'wan_vae' needs codec.wan_vae.weights: the path of "
            "Wan2.1_VAE.pth, or of vae/diffusion_pytorch_model.safetensors in "
            "diffusers' layout"
        )
    return WanCodec(params, vae, settings.tile)


def make_text_encoder(config: TextConfig) -> TextEncoder:
    """The text encoder that `config` names.

    Raises:
      UserError: UMT5's folder is missing, incomplete or of another size, or its
        weights are not finite.
    """
    if config.umt5 is not None:
        umt5 = config.umt5
        encoder = load_umt5(umt5.folder, umt5.network, config.length, umt5.batch)
        check_finite(
            leaves_by_name(encoder.params),
            f"the text encoder's weights in {umt5.folder!r}",
        )
        return encoder
    assert config.ngram is not None  # by `choose_kind`
    return NgramTextEncoder(config.length, config.dim, config.ngram.seed)
