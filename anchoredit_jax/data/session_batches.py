"""Batches of prepared sessions: element s is what step s trains on.

Records, crops and languages follow from (dataset, seed, s). Each host makes its own
rows of a batch, and any number of threads or processes may make them: none of that
decides what they are.
"""

import dataclasses
from typing import Any, Protocol

import numpy as np

from anchoredit_jax.data.chains import Chains
from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.feature_cache import FeatureCache, describe_features
from anchoredit_jax.data.features import LiveFeatures
from anchoredit_jax.data.groups import Groups, group_sessions
from anchoredit_jax.data.held_out import held_out, without
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.pairs import Pairs
from anchoredit_jax.data.plan import EMPTY, BatchPlan
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.data.runs import padded_row, stack_rows
from anchoredit_jax.data.samples import Sample
from anchoredit_jax.data.session_buckets import describe_coverage
from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import Codec
from anchoredit_jax.models.text import TextEncoder

STEPS = 2**31 - 1  # the plan has no end of its own


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
        """The numbers that this host's rows have in a batch.

        Raises:
          UserError: the batch does not split into the parts.
        """
        if batch % self.count:
            raise UserError(
                f"data.batch {batch} does not split into {self.count} equal parts"
            )
        return np.arange(batch).reshape(self.count, -1)[list(self.parts)].ravel()


ALL_ROWS = Host()


class Features(Protocol):
    """Latents and embeddings of sessions by index, see `features` and
    `feature_cache`."""

    null_text: np.ndarray

    def __getitem__(self, index: int) -> Any: ...


class SessionSteps:
    """Random access to the batches of all steps, see `batches.collate`.

    An `id` of a batch names a sample of the dataset: the session is its rest modulo the
    number of sessions.

    Attributes:
      plan, samples: what is trained on when, and what it is.
      shapes: (T, height, width) of every bucket; each is one compiled program.
    """

    def __init__(
        self,
        config: DataConfig,
        sessions: PreparedSessions,
        groups: Groups,
        features: Features,
        host: Host = ALL_ROWS,
    ):
        """
        Args:
          groups: the groups of the sessions, at the sizes of the features.
          host: says which rows of the batches to make.
        """
        self._config, self._count = config, len(sessions)
        self._name = (sessions.fingerprint, config.seed)
        chosen = held_out(sessions, config.sessions.held_out)
        members = without(groups, chosen)
        if config.sessions.layout == "pairs":
            self.samples = Pairs(groups, members, config.null_fraction, self._name)
        else:
            self.samples = Chains(
                groups,
                members,
                config.turns,
                config.null_fraction,
                config.skip_probability,
                self._name,
                config.sessions.buckets.mix_turns,
            )
        self.plan = BatchPlan(
            self.samples.sizes, config.batch, config.seed, sessions.fingerprint
        )
        self.shapes = tuple((turns + 1, *size) for turns, size in self.samples.shapes)
        self._rows = host.rows(config.batch)
        self._features = features
        self._left_out = int(np.count_nonzero(groups.of_session == len(groups.shapes)))
        self._held_out = int(np.count_nonzero(chosen))

    def coverage(self) -> str:
        """What there is to compile, and which buckets never fill a batch."""
        told = describe_coverage(self.samples.shapes, self.plan, self._config.batch)
        told += f"; {self._left_out} of {self._count} sessions left out"
        return f"{told}, {self._held_out} held out" if self._held_out else told

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        planned = self.plan[int(step)]
        numbers = planned.samples[self._rows]
        turns, _ = self.samples.shapes[planned.bucket]
        # An empty place shows the batch's first sample, and weighs nothing.
        shown = np.where(numbers == EMPTY, planned.samples[0], numbers)
        samples = [
            self.samples.sample(planned.epoch, planned.bucket, number)
            for number in shown.tolist()
        ]
        rows = [self._row(planned.epoch, sample, turns) for sample in samples]
        ids = [(s.session + s.part * self._count) % 2**31 for s in samples]
        batch = stack_rows(rows, ids, self._features.null_text)
        batch["frame_valid"] *= np.float32(numbers != EMPTY)[:, None]
        return batch

    def _row(self, epoch: int, sample: Sample, turns: int) -> dict[str, np.ndarray]:
        index = sample.session
        run = sample.run.drop(
            self._config.drop_fraction, *self._name, "drop", epoch, index
        )
        features = self._features[index]
        languages = features.languages
        language = languages[key_of(*self._name, epoch, index) % len(languages)]
        null = self._features.null_text
        text = np.repeat(null[None], len(run.turns), axis=0)
        told = [place for place, turn in enumerate(run.turns) if turn is not None]
        if told:
            text[told] = features.text(language, [run.turns[place] for place in told])
        return padded_row(features.latents(run.frames), text, run.targets, turns)


def group_prepared(
    sessions: PreparedSessions, config: DataConfig, stride: int, patch: int
) -> Groups:
    """The groups of a prepared dataset, the same in every stage and layout.

    Args:
      stride: of the codec.
      patch: side in latents of a token: sizes are whole tokens.

    Raises:
      UserError: sizes that do not fit.
    """
    return group_sessions(
        sessions.turns, sessions.height, sessions.width, config.size, stride * patch,
        config.sessions.buckets,
    )  # fmt: skip


def open_features(
    config: DataConfig,
    sessions: PreparedSessions,
    groups: Groups,
    codec: Codec,
    text: TextEncoder,
) -> Features:
    """Features of every session: of the cache, if there is one.

    Raises:
      UserError: a cache made with other settings.
    """
    if config.sessions.cache is None:
        return LiveFeatures(sessions, groups, codec, text)
    # Nothing is encoded then: weights need not stay in memory.
    return FeatureCache(
        config.sessions.cache, describe_features(sessions, groups, codec, text)
    )


def open_session_steps(
    config: DataConfig,
    codec: Codec,
    text: TextEncoder,
    *,
    patch: int = 1,
    host: Host = ALL_ROWS,
) -> SessionSteps:
    """The batches of a prepared dataset.

    Args:
      config: of the kind "sessions".
      patch: side in latents of a token.

    Raises:
      UserError: no dataset, a cache made with other settings, or sizes that do not fit.
    """
    sessions = PreparedSessions(config.sessions.path)
    groups = group_prepared(sessions, config, codec.stride, patch)
    features = open_features(config, sessions, groups, codec, text)
    return SessionSteps(config, sessions, groups, features, host)
