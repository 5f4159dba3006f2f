"""What a run reads beside its configuration: sessions, codec and text encoder.

Paths say where these lie, not what they are. A digest of each goes into every
checkpoint, so that a run goes on after they have moved, and not with others.
"""

from collections.abc import Mapping

from anchoredit_jax.data.feature_cache import describe_part
from anchoredit_jax.data.kinds import fingerprint
from anchoredit_jax.errors import UserError
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


def check_content(
    what: str, ours: Mapping[str, str], theirs: Mapping[str, str] | None
) -> None:
    """Refuse to go on with other contents.

    Args:
      what: begins the message, such as the folder of the run.
      theirs: None of a checkpoint that does not say.

    Raises:
      UserError: names what differs.
    """
    for name, digest in (theirs or {}).items():
        if ours.get(name, digest) != digest:
            raise UserError(
                f"{what} was trained with another {name} (digest {digest}, now "
                f"{ours[name]}; see {NAMES.get(name, name)}): the path may be another "
                "one, what lies there must be the same"
            )
