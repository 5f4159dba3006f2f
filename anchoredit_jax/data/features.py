"""Latents and embeddings of sessions, computed when asked for."""

from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.fitting import decode_to_bucket
from anchoredit_jax.data.groups import Groups
from anchoredit_jax.data.prepared import PreparedSessions, Session
from anchoredit_jax.models.codec import Codec, from_uint8
from anchoredit_jax.models.text import TextEncoder


class SessionFeatures:
    """The features of one session; only what is asked for is decoded."""

    def __init__(self, session: Session, size: Size, codec: Codec, text: TextEncoder):
        self._session, self._size = session, size
        self._codec, self._text = codec, text

    @property
    def languages(self) -> list[str]:
        """The languages that the instructions are in, sorted."""
        return sorted(self._session.instructions)

    def latents(self, frames: Sequence[int]) -> np.ndarray:
        """Float32 [n, h, w, C] of these frames; one may be named twice."""
        unique, places = np.unique(frames, return_inverse=True)
        images = [
            decode_to_bucket(
                self._session.images[number],
                self._size,
                f"image {number} of session {self._session.key!r}",
            )
            for number in unique.tolist()
        ]
        latents = self._codec.encode(from_uint8(np.stack(images)))
        return np.ascontiguousarray(latents, np.float32)[places]

    def text(self, language: str, turns: Sequence[int]) -> np.ndarray:
        """Float32 [n, S, Dt] of these instructions."""
        told = self._session.instructions[language]
        return self._text.encode([told[turn] for turn in turns])


class LiveFeatures:
    """Features of every session by its index.

    Attributes:
      null_text: embedding of the null instruction, float32 [S, Dt].
    """

    def __init__(
        self,
        sessions: PreparedSessions,
        groups: Groups,
        codec: Codec,
        text: TextEncoder,
    ):
        self._sessions, self._groups = sessions, groups
        self._codec, self._text = codec, text
        self.null_text = np.float32(text.encode([""])[0])

    def __getitem__(self, index: int) -> SessionFeatures:
        _, size = self._groups.shapes[int(self._groups.of_session[index])]
        return SessionFeatures(self._sessions[index], size, self._codec, self._text)
