"""What may look on at a run, such as a certificate (`reproducibility/recorder.py`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jax.sharding import Mesh

from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.run_config import RunConfig


class Observer(Protocol):
    """Called by every process of a run, in the same places.

    The loop fetches nothing for it that it does not fetch for itself.
    """

    def begin(
        self,
        run: RunConfig,
        folder: Path,
        start: int,
        mesh: Mesh,
        lineage: Lineage | None,
        changes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """The first step after `start` is about to run; `folder` is the stage's, and
        `changes` say how the run was steered (`steering.History`)."""

    def batch(self, step: int, of_host: Mapping[str, np.ndarray]) -> None:
        """Step `step` (1 is the first) was started on this host's rows."""

    def metrics(self, step: int, fetched: Sequence[Mapping[str, Any]]) -> None:
        """The metrics of the steps since the last call, up to `step`, are here."""

    def saving(self, step: int, state: Any) -> None:
        """A checkpoint of `step` is about to be written; `metrics` came before."""
