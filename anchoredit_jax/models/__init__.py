"""What is learned: the transformer, the codecs and the text encoders.

Letters used in every docstring of this package: B batch, T frames (1 source + N turns),
N heads (or turns), L tokens per frame, H head dim, D width, S text tokens, C latent
channels, h, w latent height and width, P remembered frames.
"""

from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.models.presets import PRESETS, make_config
from anchoredit_jax.models.transformer import Transformer

__all__ = ["PRESETS", "Transformer", "TransformerConfig", "make_config"]
