"""The batch plan of a steered run of prepared sessions (docs/method.md, Steering).

A leg begins with a phase that shows what was not shown in the epoch under way, and goes
on with whole epochs. With another batch that follows from the legs before it, which are
planned again; with other samples the leg says which sessions wait.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from anchoredit_jax.data.groups import Members
from anchoredit_jax.data.legs import Leg, unpacked
from anchoredit_jax.data.plan import EMPTY, BatchPlan, PlannedBatch
from anchoredit_jax.data.samples import Samples

# Bool [sessions] of those to leave out, or None -> samples; None: there are none.
SamplesOf = Callable[[np.ndarray | None], Samples | None]


@dataclasses.dataclass(frozen=True)
class Phase:
    """Steps in a row that follow one plan.

    Attributes:
      start: its first step.
      epoch: the epoch of its first batch; a phase that shows the rest of one has no
        other.
      samples: what its numbers mean.
      plan: its batches.
      gone: bool [sessions], those without samples here; None: all have theirs.
      shown: bool [samples] of each bucket, those shown before; None: none were.
    """

    start: int
    epoch: int
    samples: Samples
    plan: BatchPlan
    gone: np.ndarray | None = None
    shown: tuple[np.ndarray, ...] | None = None

    @functools.cached_property
    def _left(self) -> list[Members]:
        """The numbers that are still to be shown, of each bucket, by rank."""
        return [Members(shown, 1) for shown in self.shown or ()]

    @property
    def is_rest(self) -> bool:
        """Whether it shows the rest of an epoch, and ends with it."""
        return self.gone is not None or self.shown is not None

    def __getitem__(self, step: int) -> PlannedBatch:
        """The batch of a step of the run."""
        number = step - self.start
        if not self.is_rest:
            return self.plan[number + self.epoch * self.plan.steps_per_epoch]
        planned = self.plan[number]._replace(epoch=self.epoch)
        if self.shown is None:
            return planned
        left = self._left[planned.bucket]
        numbers = [
            EMPTY if rank == EMPTY else left.find(0, rank)
            for rank in planned.samples.tolist()
        ]
        return planned._replace(samples=np.array(numbers, np.int64))


def make_phases(legs: Sequence[Leg], samples_of: SamplesOf) -> list[Phase]:
    """The phases of legs that all have the same samples.

    Args:
      samples_of: bool [sessions] of those to leave out, or None -> samples.
    """
    first = legs[0]
    step, epoch, phases = first.step, first.epoch, []
    gone = unpacked(first.gone, first.sessions) if first.gone else None
    rest = None if gone is None else samples_of(gone)
    if rest is not None:
        plan = _plan(first, rest.sizes, f" from {step}")
        phases.append(Phase(step, epoch, rest, plan, gone))
        step += plan.steps_per_epoch
    if gone is not None:
        epoch += 1
    phases.append(_whole(first, step, epoch, samples_of))
    for leg in legs[1:]:
        phases = _followed(phases, leg, samples_of)
    return phases


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """The phase that a step is in; of one before the first, the first."""
    found = [phase for phase in phases if phase.start <= step]
    return found[-1] if found else phases[0]


def sessions_shown(
    phases: Sequence[Phase], step: int, count: int
) -> tuple[int, np.ndarray | None]:
    """(the epoch under way behind `step` steps, bool [count]: the sessions of which
    something was shown in it; None where it begins)."""
    epoch, within, phase = _under_way(phases, step)
    if not within:
        return epoch, None
    gone = np.zeros(count, bool) if phase.gone is None else phase.gone.copy()
    shown = _shown(phase, range(step - within, step))
    for bucket, numbers in enumerate(shown):
        for number in np.flatnonzero(numbers).tolist():
            gone[phase.samples.sample(epoch, bucket, number).session] = True
    return epoch, gone


def _whole(leg: Leg, start: int, epoch: int, samples_of: SamplesOf) -> Phase:
    samples = samples_of(None)
    assert samples is not None  # or the data had been refused
    return Phase(start, epoch, samples, _plan(leg, samples.sizes))


def _plan(leg: Leg, sizes: Sequence[int], name: str = "") -> BatchPlan:
    return BatchPlan(sizes, leg.data.batch, leg.data.seed, leg.fingerprint + name)


def _under_way(phases: Sequence[Phase], step: int) -> tuple[int, int, Phase]:
    """(epoch, how many of its steps this phase has done, the phase) behind `step`."""
    phase = phase_at(phases, step - 1)
    epochs, within = divmod(step - phase.start, phase.plan.steps_per_epoch)
    return phase.epoch + epochs, within, phase


def _followed(phases: list[Phase], leg: Leg, samples_of: SamplesOf) -> list[Phase]:
    """The phases up to the end of `leg`, from those up to the end of the leg before."""
    step = leg.step
    epoch, within, phase = _under_way(phases, step)
    kept = [phase for phase in phases if phase.start < step]
    if within:
        shown = _shown(phase, range(step - within, step))
        sizes = [int(np.count_nonzero(~bucket)) for bucket in shown]
        plan = _plan(leg, sizes, f" from {step}")
        kept.append(Phase(step, epoch, phase.samples, plan, phase.gone, shown))
        step, epoch = step + plan.steps_per_epoch, epoch + 1
    return [*kept, _whole(leg, step, epoch, samples_of)]


def _shown(phase: Phase, steps: range) -> tuple[np.ndarray, ...]:
    """Bool [samples] of each bucket: shown in these steps, or before the phase."""
    if phase.shown is None:
        shown = tuple(np.zeros(size, bool) for size in phase.samples.sizes)
    else:
        shown = tuple(bucket.copy() for bucket in phase.shown)
    for step in steps:
        planned = phase[step]
        shown[planned.bucket][planned.samples[planned.samples != EMPTY]] = True
    return shown
