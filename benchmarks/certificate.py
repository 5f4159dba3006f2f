"""What a certificate costs a training run, beside the time of a step."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anchoredit_jax import randomness
from anchoredit_jax.models.presets import PRESETS
from anchoredit_jax.reproducibility.digests import digest_rows, step_keys
from anchoredit_jax.reproducibility.recorder import Recorder
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.testing import tiny_run
from anchoredit_jax.training.loop import run_stage
from benchmarks.timing import interleave


@dataclasses.dataclass(frozen=True)
class CertificateCost:
    """What a certificate costs, all in seconds.

    Attributes:
      step: of a training step, with a row of the certificate at each.
      hooks: what the loop spends on a row, waiting included.
      hashing: what hashing a batch takes, in another thread.
      keys: what the keys of a step take on the device.
      arrays: what the digests at a checkpoint take, once compiled.
    """

    step: float
    hooks: float
    hashing: float
    keys: float
    arrays: float

    @property
    def share(self) -> float:
        """The share of a step's time, as if nothing ran beside anything else."""
        return (self.hooks + self.hashing + self.keys) / self.step


def benchmark_certificate(
    folder: Path, steps: int = 30, run: RunConfig | None = None
) -> CertificateCost:
    """Train the toy with a row a step, and time what the certificate adds.

    Args:
      folder: for the run; emptied by the caller.
      run: instead of the toy.
    """
    run = run or _toy()
    loop = dataclasses.replace(
        run.loop, steps=steps, log_every=5, checkpoint_every=max(1, steps // 3)
    )
    recorder = _Timed()
    result = run_stage(run.replace(loop=loop), folder, quiet=True, observer=recorder)
    root = randomness.stage_key(run.seed, run.stage)
    batch = recorder.seen
    parts = interleave(
        {
            "hashing": lambda: digest_rows(batch),
            "keys": lambda: step_keys(root, np.int32(0), batch["id"]),
        }
    )
    return CertificateCost(
        step=result.metrics["step_seconds"],
        hooks=sum(recorder.hooks[1:]) / (steps - 1),  # the first call compiles
        hashing=parts["hashing"].median,
        keys=parts["keys"].median,
        arrays=statistics.median(recorder.arrays[1:]),
    )


def _toy() -> RunConfig:
    """The model and the batches of configs/sprites.py."""
    model = PRESETS["tiny"]
    return tiny_run(
        "single_turn",
        model=model,
        text=dict(length=16, dim=model["text_dim"]),
        data=dict(size=32, turns=4, batch=8, sprites=dict(layout="star")),
    )


class _Timed(Recorder):
    """Notes the seconds of every call, and the last batch."""

    def __init__(self):
        super().__init__()
        self.hooks: list[float] = []
        self.arrays: list[float] = []
        self.seen: Mapping[str, np.ndarray] = {}

    def batch(self, step: int, of_host: Mapping[str, np.ndarray]) -> None:
        self.seen = of_host
        self.hooks.append(_seconds(super().batch, step, of_host))

    def metrics(self, step: int, fetched: Any) -> None:
        self.hooks.append(_seconds(super().metrics, step, fetched))

    def saving(self, step: int, state: Any) -> None:
        self.arrays.append(_seconds(super().saving, step, state))


def _seconds(function: Callable, *arguments: Any) -> float:
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began
