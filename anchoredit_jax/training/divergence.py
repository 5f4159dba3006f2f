"""A run whose numbers are no longer finite stops within a step, and says where."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from anchoredit_jax.stages.step import FINITE
from anchoredit_jax.trees import leaves_by_name, not_finite, some_names


class DivergedError(RuntimeError):
    """A loss or gradient is no longer finite; the last checkpoint is from before."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """What is still to be checked of a step, and what it trained on."""

    number: int
    loss: jax.Array
    finite: Mapping[str, jax.Array]
    batch: Mapping[str, np.ndarray]


class Watch:
    """Checks every step one step late, when its numbers are there to be read.

    So the devices never wait for the host, nor does it run ahead by more than a step.
    An update that is not finite is not applied (`step.update`), and nothing is saved
    before all steps are checked.
    """

    def __init__(self, stage: str):
        self._stage = stage
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
        self._last = _Step(step, metrics["loss"], finite, batch)
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
        loss, finite = jax.device_get((step.loss, step.finite))
        if np.isfinite(loss) and all(flags.all() for flags in finite.values()):
            return
        said = f"the loss is {loss}"
        if np.isfinite(loss):
            said = "a gradient is not finite"
        batch, arrays = _bad_inputs(step.batch), not_finite(state)
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
            "Look at the data of these samples"
            if batch
            else "Lower the learning rate: every draw is fixed, so the same "
            "configuration comes to the same step"
        )
        raise DivergedError(
            f"stage {self._stage}: {said} at step {step.number}; "
            + (f"not finite: {'; '.join(found)}; " if found else "")
            + f"last checkpoint: {f'step {saved}' if saved else 'none'}. {advice}"
        )


def _bad_inputs(batch: Mapping[str, np.ndarray]) -> list[str]:
    found = []
    for name, rows in batch.items():
        if np.issubdtype(rows.dtype, np.floating):
            bad = ~np.isfinite(rows).all(tuple(range(1, rows.ndim)))
            if bad.any():
                samples = ", ".join(str(number) for number in batch["id"][bad])
                found.append(f"batch/{name} of sample {samples}")
    return found
