"""What a run reads beside its configuration: sessions, codec and text encoder.

Paths say where these lie, not what they are. A digest of each goes into every
checkpoint, so that a run goes on after they have moved, and not with others.
"""

from collections.abc import Mapping
from pathlib import Path

from anchoredit_jax import files
from anchoredit_jax.data.feature_cache import ABOUT, describe_part
from anchoredit_jax.data.kinds import fingerprint
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.models.tokenizer import TOKENIZER_FILES
from anchoredit_jax.run_config import RunConfig

NAMES = {
    "sessions": "data",
    "codec": "codec.wan_vae.weights",
    "text encoder": "text.umt5.folder",
    "tokenizer": "text.umt5.folder",
}


def describe_content(run: RunConfig, codec: Codec, text: TextEncoder) -> dict[str, str]:
    """Name of what is read -> its digest."""
    content = {
        "sessions": fingerprint(run.data),
        "codec": describe_part(codec),
        "text encoder": describe_part(text),
    }
    if run.text.umt5 is not None:
        folder = Path(run.text.umt5.folder)
        found = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
        content["tokenizer"] = files.blake2b(*(path.read_bytes() for path in found))
    return content


def describe_on_host(run: RunConfig, content: Mapping[str, str]) -> dict[str, str]:
    """What the hosts of a run must share, beside its content: what a feature cache says
    of itself, its dtype too."""
    cache = run.data.sessions and run.data.sessions.cache
    about = Path(cache, ABOUT) if cache else None
    if about is None or not about.is_file():
        return dict(content)
    return {**content, "features": files.blake2b(about.read_bytes())}
