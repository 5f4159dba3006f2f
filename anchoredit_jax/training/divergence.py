"""A run whose numbers are no longer finite stops within a step, and says where."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from anchoredit_jax.run_config import LoopConfig
from anchoredit_jax.stages.step import FINITE, SPIKE
from anchoredit_jax.trees import leaves_by_name, not_finite, some_names


class DivergedError(RuntimeError):
    """A loss or gradient is no longer finite; the last checkpoint is from before."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """What is still to be checked of a step, and what it trained on."""

    number: int
    loss: jax.Array
    finite: Mapping[str, jax.Array]
    spikes: Mapping[str, jax.Array]
    batch: Mapping[str, np.ndarray]


@dataclasses.dataclass
class Skipped:
    """Updates that were left out so far, over the whole run.

    Attributes:
      nonfinite: because the loss or a gradient was not finite.
      spikes: because the gradient's norm was far above those before.
    """

    nonfinite: int = 0
    spikes: int = 0

    @property
    def total(self) -> int:
        return self.nonfinite + self.spikes


class Watch:
    """Checks every step one step late, when its numbers are there to be read.

    So the devices never wait for the host, nor does it run ahead by more than a step.
    An update that is not finite is not applied (`step.update`), and nothing is saved
    before all steps are checked. As many of them as `loop.skip_nonfinite` are told on
    stderr, and the run goes on.

    Attributes:
      skipped: how many updates were left out, by what is checked.
    """

    def __init__(
        self,
        stage: str,
        loop: LoopConfig = LoopConfig(),  # noqa: B008  (frozen)
        skipped: Skipped | None = None,
        names: Callable[[int], str] = str,
    ):
        """
        Args:
          skipped: of the run, where it goes on.
          names: what a person calls a sample, by the number in its batch.
        """
        self._stage, self._loop, self._names = stage, loop, names
        self.skipped = skipped or Skipped()
        self._last: _Step | None = None

    def follow(
        self,
        step: int,
        metrics: dict[str, Any],
        batch: Mapping[str, np.ndarray],
        state: Any,
        saved: int,
    ) -> dict[str, Any]:
        """Check the step before, note this one; returns its metrics for the log.

        Args:
          step: its number; `metrics` and `state` are what it gave.
          batch: this host's rows of what it trained on.
          saved: step of the last checkpoint.

        Raises:
          DivergedError: the step before was not finite.
        """
        logged = {name: value for name, value in metrics.items() if name != FINITE}
        finite = metrics.get(FINITE, {})
        before = self._last
        spikes = {name: value for name, value in metrics.items() if _is_spike(name)}
        self._last = _Step(step, metrics["loss"], finite, spikes, batch)
        if before is not None:
            self._check(before, state, saved)
        return logged

    def settle(self, state: Any, saved: int) -> None:
        """Check the last step too: it is waited for.

        Raises:
          DivergedError: it was not finite.
        """
        if self._last is not None:
            self._check(self._last, state, saved)
            self._last = None

    def _check(self, step: _Step, state: Any, saved: int) -> None:
        loss, finite, spikes = jax.device_get((step.loss, step.finite, step.spikes))
        if any(value == 1 for value in spikes.values()):
            self._tell_spike(step)
        if np.isfinite(loss) and all(flags.all() for flags in finite.values()):
            return
        said = f"the loss is {loss}"
        if np.isfinite(loss):
            said = "a gradient is not finite"
        batch = _bad_inputs(step.batch, self._names)
        if self.skipped.nonfinite < self._loop.skip_nonfinite:
            self.skipped.nonfinite += 1
            self._tell(
                f"step {step.number}: {said}; its update is left out "
                f"({self.skipped.nonfinite} of {self._loop.skip_nonfinite}): "
                + ("; ".join(batch) or self._samples(step))
            )
            return
        arrays = not_finite(state)
        gradients = [
            name
            for tree, flags in finite.items()
            for name, fine in zip(
                leaves_by_name({tree: getattr(state, tree)}), flags, strict=True
            )
            if not fine
        ]
        found = [
            *batch,
            *([some_names(arrays)] if arrays else []),
            *(["gradients of " + some_names(gradients)] if gradients else []),
        ]
        advice = (
            "Look at the data of these samples: with --change, "
            'data.sessions.exclude=["NAME"] leaves a session out'
            if batch
            else "Lower the learning rate (--change and a lower "
            "optimizer.learning_rate): every draw is fixed, so the same configuration "
            "comes to the same step; --from-step N goes back to an earlier checkpoint"
        )
        advice += (
            f"; loop.skip_nonfinite={self.skipped.nonfinite + 1} with --change leaves "
            "out this update"
        )
        if self.skipped.nonfinite:
            advice += f" besides the {self.skipped.nonfinite} left out before"
        raise DivergedError(
            f"stage {self._stage}: {said} at step {step.number}; "
            + (f"not finite: {'; '.join(found)}; " if found else "")
            + f"last checkpoint: {f'step {saved}' if saved else 'none'}. {advice}"
        )

    def _tell_spike(self, step: _Step) -> None:
        factor, left_out = self._loop.spike_factor, self._loop.skip_spikes
        self.skipped.spikes += left_out
        self._tell(
            f"step {step.number}: the gradient's norm is a spike, more than "
            f"{factor:g} times the median of the last ones"
            + ("; its update is left out: " if left_out else ": ")
            + self._samples(step)
        )

    def _tell(self, line: str) -> None:
        """Each host names its own rows."""
        print(f"stage {self._stage}: {line}", file=sys.stderr)

    def _samples(self, step: _Step) -> str:
        """The samples of this host that weighed something."""
        ids = step.batch["id"]
        if "frame_valid" in step.batch:
            ids = ids[step.batch["frame_valid"].any(1)]
        return "samples " + ", ".join(self._names(int(number)) for number in ids)


def _is_spike(name: str) -> bool:
    """Whether a metric tells a spike: of the network or, with a prefix, another."""
    return name == SPIKE or name.endswith(f"_{SPIKE}")


def _bad_inputs(
    batch: Mapping[str, np.ndarray], names: Callable[[int], str]
) -> list[str]:
    found = []
    for name, rows in batch.items():
        if np.issubdtype(rows.dtype, np.floating):
            bad = ~np.isfinite(rows).all(tuple(range(1, rows.ndim)))
            if bad.any():
                samples = ", ".join(names(int(number)) for number in batch["id"][bad])
                found.append(f"batch/{name} of sample {samples}")
    return found
