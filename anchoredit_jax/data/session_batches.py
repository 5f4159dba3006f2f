"""Batches of prepared sessions: element s is what step s trains on.

Records, crops and languages follow from (dataset, seed, s). Each host makes its own
rows of a batch, and any number of threads or processes may make them: none of that
decides what they are.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from anchoredit_jax.data.chains import Chains
from anchoredit_jax.data.config import DataConfig
from anchoredit_jax.data.feature_cache import Features, open_features
from anchoredit_jax.data.groups import Groups, Members, group_prepared
from anchoredit_jax.data.held_out import held_out
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.legs import Leg, packed
from anchoredit_jax.data.pairs import Pairs
from anchoredit_jax.data.phases import (
    Phase,
    make_phases,
    phase_at,
    sessions_shown,
)
from anchoredit_jax.data.plan import EMPTY
from anchoredit_jax.data.prepared import PreparedSessions
from anchoredit_jax.data.runs import padded_row, stack_rows
from anchoredit_jax.data.samples import Sample, Samples
from anchoredit_jax.data.session_buckets import describe_coverage
from anchoredit_jax.data.unfit_texts import check_texts
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
        legs: Sequence[Leg] = (),
    ):
        """
        Args:
          groups: the groups of the sessions, at the sizes of the features.
          host: says which rows of the batches to make.
          legs: of a steered run, all of these samples; the last is of `config`.
        """
        self._config, self._count = config, len(sessions)
        self._name = (sessions.fingerprint, config.seed)
        legs = legs or [Leg(0, config, sessions.fingerprint, len(sessions))]
        chosen = held_out(sessions, config.sessions.held_out)
        self._phases = phases_of(legs, groups.without(chosen))
        self.samples, self.plan = self._phases[-1].samples, self._phases[-1].plan
        shapes = {
            (turns + 1, *size): None
            for phase in self._phases
            if phase.start >= legs[-1].step
            for turns, size in phase.samples.shapes
        }
        self.shapes = tuple(shapes)
        self._excluded = frozenset(sessions.numbers_of(config.sessions.exclude))
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
        phase = phase_at(self._phases, int(step))
        planned = phase[int(step)]
        turns, _ = phase.samples.shapes[planned.bucket]

        def sample(number: int) -> Sample:
            return phase.samples.sample(planned.epoch, planned.bucket, number)

        numbers = planned.samples
        if self._excluded:
            gone = [
                sample(max(n, 0)).session in self._excluded for n in numbers.tolist()
            ]
            numbers = np.where(gone, EMPTY, numbers)
        real = numbers != EMPTY
        # An empty place shows the batch's first sample, and weighs nothing.
        shown = np.where(real, numbers, planned.samples[real.argmax()])[self._rows]
        samples = [sample(number) for number in shown.tolist()]
        rows = [self._row(planned.epoch, sample, turns) for sample in samples]
        if not real.any():  # all are excluded: what they hold may not be a number
            rows = [{name: np.zeros_like(row[name]) for name in row} for row in rows]
        ids = [(s.session + s.part * self._count) % 2**31 for s in samples]
        batch = stack_rows(rows, ids, self._features.null_text)
        batch["frame_valid"] *= np.float32(real[self._rows])[:, None]
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


def phases_of(legs: Sequence[Leg], groups: Groups) -> list[Phase]:
    """The batch plan of legs that all have the samples of these groups of sessions."""
    config, name = legs[-1].data, (legs[-1].fingerprint, legs[-1].data.seed)

    def samples_of(gone: np.ndarray | None) -> Samples | None:
        of_session = (groups if gone is None else groups.without(gone)).of_session
        members = Members(of_session, len(groups.shapes))
        if not members.sizes.any():
            return None
        if config.sessions.layout == "pairs":
            return Pairs(groups, members, config.null_fraction, name)
        return Chains(
            groups, members, config.turns, config.null_fraction,
            config.skip_probability, name, config.sessions.buckets.mix_turns,
        )  # fmt: skip

    return make_phases(legs, samples_of)


def leg_behind(legs: Sequence[Leg], leg: Leg, stride: int, patch: int) -> Leg:
    """A leg of prepared sessions that begins with those of which nothing was shown in
    the epoch under way; they are told apart by their names.

    Args:
      legs: those before, whose sessions lie where the last of them says.
      leg: what follows, whose samples are others.
      stride, patch: as of `group_prepared`.
    """
    before = PreparedSessions(legs[-1].data.sessions.path)
    groups = group_prepared(before, legs[-1].data, stride, patch)
    groups = groups.without(held_out(before, legs[-1].data.sessions.held_out))
    epoch, shown = sessions_shown(phases_of(legs, groups), leg.step, len(before))
    if shown is None:
        return dataclasses.replace(leg, epoch=epoch)
    there = PreparedSessions(leg.data.sessions.path)
    gone = np.isin(there.name_keys(), before.name_keys()[shown])
    return dataclasses.replace(leg, epoch=epoch, gone=packed(gone))


def sample_name(data: DataConfig, sample: int) -> str:
    """What a person calls a sample of a batch: its number, and its session's name."""
    if data.sessions is None:
        return str(sample)
    sessions = PreparedSessions(data.sessions.path)
    return f"{sample} (session {sessions[sample % len(sessions)].key!r})"


def open_session_steps(
    config: DataConfig,
    codec: Codec,
    text: TextEncoder,
    *,
    patch: int = 1,
    host: Host = ALL_ROWS,
    legs: Sequence[Leg] = (),
) -> SessionSteps:
    """The batches of a prepared dataset.

    Args:
      config: of the kind "sessions".
      patch: side in latents of a token.
      legs: of a steered run, see `SessionSteps`.

    Raises:
      UserError: no dataset, a cache made with other settings, sizes that do not fit, or
        instructions that the text encoder refuses.
    """
    sessions = PreparedSessions(config.sessions.path)
    groups = group_prepared(sessions, config, codec.stride, patch)
    if config.sessions.cache is None:
        excluded = sessions.numbers_of(config.sessions.exclude)
        also = ", or name them in data.sessions.exclude"
        check_texts(sessions, groups, text, excluded, also)
    features = open_features(config, sessions, groups, codec, text)
    return SessionSteps(config, sessions, groups, features, host, legs)
