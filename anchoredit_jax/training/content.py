"""What a run reads beside its configuration: sessions, codec and text encoder.

Paths say where these lie, not what they are. A digest of each goes into every
checkpoint, so that a run goes on after they have moved, and not with others.
"""

from anchoredit_jax.data.feature_cache import describe_part
from anchoredit_jax.data.kinds import fingerprint
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.run_config import RunConfig

NAMES = {
    "sessions": "data",
    "codec": "codec.wan_vae.weights",
    "text encoder": "text.umt5.folder",
}


def describe_content(run: RunConfig, codec: Codec, text: TextEncoder) -> dict[str, str]:
    """Name of what is read -> its digest."""
    return {
        "sessions": fingerprint(run.data),
        "codec": describe_part(codec),
        "text encoder": describe_part(text),
    }
