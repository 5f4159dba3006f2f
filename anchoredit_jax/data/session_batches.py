"""Batches of prepared sessions: element s is what step s trains on.

Records, crops and languages follow from (dataset, seed, s). Each host makes its own
rows of a batch, and any number of threads or processes may make them: none of that
decides what they are.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from anchoredit_jax.data.fitting import decode_to_bucket
from anchoredit_jax.data.permutation import key_of
from anchoredit_jax.data.plan import EMPTY, BatchPlan, PlannedBatch
from anchoredit_jax.data.prepared import PreparedSessions, Session
from anchoredit_jax.data.session_buckets import (
    BucketConfig,
    Buckets,
    assign_buckets,
    describe_coverage,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec, from_uint8
from anchoredit_jax.models.text import TextEncoder
from anchoredit_jax.strict import way

STEPS = 2**31 - 1  # the plan has no end of its own


@dataclasses.dataclass(frozen=True)
class SessionsConfig:
    """Where prepared sessions lie, and how they become batches.

    Attributes:
      path: a folder of launch/prepare_data.py.
      cache: its feature cache, made with the same settings; None computes latents and
        embeddings anew at every step.
      buckets: how sessions are grouped.
      workers: processes that make batches; 0 for threads of this one.
    """

    path: str | None = way(None)
    cache: str | None = way(None)
    buckets: BucketConfig = BucketConfig()
    workers: int = way(0)

    def __post_init__(self):
        if self.workers < 0:
            raise UserError(
                f"data.sessions.workers must be 0 or more, got {self.workers}"
            )


@dataclasses.dataclass(frozen=True)
class Host:
    """Which rows of every batch this host makes.

    Attributes:
      parts: numbers of the parts it makes, ascending. Hosts that hold one sequence
        together make the same ones, and those of a host need not be neighbours.
      count: equal parts of a batch.
    """

    parts: tuple[int, ...] = (0,)
    count: int = 1

    def rows(self, batch: int) -> np.ndarray:
        """Their numbers in a batch.

        Raises:
          UserError: the batch does not split into the parts.
        """
        if batch % self.count:
            raise UserError(
                f"data.batch {batch} does not split into {self.count} equal parts"
            )
        return np.arange(batch).reshape(self.count, -1)[list(self.parts)].ravel()


ALL_ROWS = Host()


class SessionSteps:
    """Random access to the batches of all steps, see `collate_sessions`.

    Attributes:
      plan, buckets: what is trained on when, and at which size.
    """

    def __init__(
        self,
        sessions: PreparedSessions,
        buckets: Buckets,
        batch: int,
        seed: int,
        codec: Codec,
        text: TextEncoder,
        features: Any = None,
        host: Host = ALL_ROWS,
    ):
        """
        Args:
          features: a `FeatureCache` to read latents and embeddings from.
          host: whose rows to make.
        """
        self.buckets = buckets
        self.plan = BatchPlan(
            buckets.of_session, len(buckets.shapes), batch, seed, sessions.fingerprint
        )
        self._sessions = sessions
        self._batch, self._rows = batch, host.rows(batch)
        self._seed = seed
        self._features = features
        # With features nothing is encoded: weights need not stay in memory.
        self._codec, self._text = (codec, text) if features is None else (None, None)

    def coverage(self) -> str:
        """Which buckets there are, and which of them never fill a batch."""
        return describe_coverage(self.buckets, self.plan, self._batch)

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        planned = self.plan[int(step)]
        turns, size = self.buckets.shapes[planned.bucket]
        rows = planned.sessions[self._rows]
        # An empty place shows the batch's first session, and weighs nothing.
        shown = np.where(rows == EMPTY, planned.sessions[0], rows)
        parts = [self._features_of(planned, int(i), turns, size) for i in shown]
        batch = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        batch["frame_valid"] *= np.float32(rows != EMPTY)[:, None]
        batch["null_text"] = np.repeat(self._null(), len(rows), axis=0)
        batch["id"] = shown.astype(np.int32)
        return batch

    def _null(self) -> np.ndarray:
        if self._features is not None:
            return self._features.null_text[None]
        return self._text.encode([""])

    def _features_of(self, planned: PlannedBatch, index: int, turns: int, size):
        if self._features is not None:
            latents, prompts = self._features[index]
        else:
            session = self._sessions[index]
            latents = encode_frames(
                session, min(turns, session.turns), size, self._codec
            )
            prompts = {
                language: self._text.encode(texts[: len(latents) - 1])
                for language, texts in session.instructions.items()
            }
        languages = sorted(prompts)
        pick = key_of(self._sessions.fingerprint, self._seed, planned.epoch, index)
        return padded(latents, prompts[languages[pick % len(languages)]], turns)


def encode_frames(
    session: Session, turns: int, size: tuple[int, int], codec: Codec
) -> np.ndarray:
    """The first `turns` + 1 images at a bucket's size, as latents [T, h, w, C]."""
    images = [
        decode_to_bucket(data, size, f"image {number} of session {session.key!r}")
        for number, data in enumerate(session.images[: turns + 1])
    ]
    latents = codec.encode(from_uint8(np.stack(images)))
    return np.ascontiguousarray(latents, np.float32)


def padded(latents: np.ndarray, text: np.ndarray, turns: int) -> Mapping[str, Any]:
    """One row of a batch: T - 1 = `turns`, the last frame repeated, weightless."""
    missing = turns + 1 - len(latents)
    text = np.pad(text[:turns], ((0, turns - len(text[:turns])), (0, 0), (0, 0)))
    return {
        "latents": np.concatenate([latents, np.repeat(latents[-1:], missing, 0)]),
        "text": text.astype(np.float32),
        "frame_valid": np.float32(np.arange(turns + 1) < len(latents)),
        "answers": np.zeros((turns + 1, *latents.shape[1:3]), np.float32),
    }


def open_session_steps(
    config: SessionsConfig,
    *,
    size: int,
    turns: int,
    batch: int,
    seed: int,
    codec: Codec,
    text: TextEncoder,
    patch: int = 1,
    host: Host = ALL_ROWS,
) -> SessionSteps:
    """The batches of a prepared dataset.

    Args:
      size: side of the square whose area the buckets have, pixels.
      turns: N of the longest sequence; of longer sessions the first N turns count.
      patch: side in latents of a token: buckets are whole tokens.

    Raises:
      UserError: no dataset, a cache made with other settings, or sizes that do not fit.
    """
    if config.path is None:
        raise UserError("data.sessions.path must name a folder of prepared sessions")
    sessions = PreparedSessions(config.path)
    buckets = assign_buckets(
        sessions.turns, sessions.height, sessions.width, size, codec.stride * patch,
        turns, config.buckets,
    )  # fmt: skip
    features = None
    if config.cache is not None:
        from anchoredit_jax.data.feature_cache import FeatureCache, describe_features

        features = FeatureCache(
            config.cache, describe_features(sessions, buckets, turns, codec, text)
        )
    elif config.workers and (hasattr(codec, "params") or hasattr(text, "params")):
        raise UserError(
            "data.sessions.workers: worker processes would each hold the weights of "
            "codec and text encoder; make a feature cache with launch/prepare_data.py "
            "--cache, or use 0 workers"
        )
    return SessionSteps(sessions, buckets, batch, seed, codec, text, features, host)
