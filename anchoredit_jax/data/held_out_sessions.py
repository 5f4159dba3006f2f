"""Held-out sessions with all that measuring them takes: images, latents, embeddings."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.feature_cache import open_features
from anchoredit_jax.data.fitting import decode_to_bucket
from anchoredit_jax.data.groups import group_prepared
from anchoredit_jax.data.held_out import first_held_out
from anchoredit_jax.data.prepared import PreparedSessions, Session
from anchoredit_jax.data.sprites import (
    SpriteSession,
    SpriteView,
    check_held_out,
    held_out_sessions,
    render_truth,
    square_view,
)
from anchoredit_jax.models.codec import Codec, from_uint8
from anchoredit_jax.models.text import TextEncoder


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOutSession:
    """One session of N turns.

    Attributes:
      name: of the session.
      instructions: N texts.
      latents: float32 [N + 1, h, w, C], of the source and every right result.
      text: float32 [N, S, Dt], embedded instructions.
      read_images: gives uint8 [N + 1, H, W, 3], what the latents are of.
      sprite, view: the scenes behind a sprite session, and how they are seen.
    """

    name: str
    instructions: tuple[str, ...]
    latents: np.ndarray
    text: np.ndarray
    read_images: Callable[[], np.ndarray]
    sprite: SpriteSession | None = None
    view: SpriteView | None = None


def of_sprites(
    config: DataConfig,
    codec: Codec,
    text: TextEncoder,
    patch: int,
    count: int,
    turns: int,
) -> list[HeldOutSession]:
    """`count` sprite sessions of `turns` turns, with seeds that no training has.

    Raises:
      UserError: the run is trained on these very sessions.
    """
    check_held_out(config.seed)
    view, found = square_view(config.size), []
    for number, session in enumerate(held_out_sessions(count, turns)):
        read = functools.partial(_truth, session, view)
        instructions = tuple(edit.text for edit in session.edits)
        latents = np.asarray(codec.encode(from_uint8(read())), np.float32)
        embedded = np.asarray(text.encode(list(instructions)), np.float32)
        name = f"sprite_{number:05d}"
        found.append(
            HeldOutSession(name, instructions, latents, embedded, read, session, view)
        )
    return found


def _truth(session: SpriteSession, view: SpriteView) -> np.ndarray:
    return render_truth([session], view)[0]


def of_prepared(
    config: DataConfig,
    codec: Codec,
    text: TextEncoder,
    patch: int,
    count: int,
    turns: int,
) -> list[HeldOutSession]:
    """At most `count` prepared sessions that `data.sessions.held_out` keeps out of
    training, all of one size, with at most their first `turns` turns."""
    sessions = PreparedSessions(config.sessions.path)
    groups = group_prepared(sessions, config, codec.stride, patch)
    group = first_held_out(sessions, groups, config.sessions.held_out, count)
    if group is None:
        return []
    features = open_features(config, sessions, groups, codec, text)
    found = []
    for number in group.sessions:
        session, of_session = sessions[number], features[number]
        length = min(turns, session.turns)
        language = of_session.languages[0]
        found.append(
            HeldOutSession(
                session.key,
                session.instructions[language][:length],
                of_session.latents(range(length + 1)),
                of_session.text(language, range(length)),
                functools.partial(_decoded, session, group.size, length + 1),
            )
        )
    return found


def _decoded(session: Session, size: tuple[int, int], frames: int) -> np.ndarray:
    return np.stack(
        [
            decode_to_bucket(data, size, f"image {i} of session {session.key!r}")
            for i, data in enumerate(session.images[:frames])
        ]
    )
