"""How fast a run is: steps a second, operations a second, and the memory they take."""

import math
import time
from typing import Any

import jax

from anchoredit_jax.parallel.chips import CHIPS, chip_of
from anchoredit_jax.run_config import RunConfig
from anchoredit_jax.training.work import step_flops

# What `Throughput.row` may hold: the only metrics that are not the same in every run.
MEASURES = (
    "step_seconds",
    "steps_per_second",
    "seconds_left",
    "samples_per_second",
    "tokens_per_second",
    "data_wait",
    "tflops",
    "mfu",
    "device_memory_gib",
)


class Throughput:
    """Measures of the steps since the last row; only shapes of batches are read.

    Operations are the model's (`training/work.py`), on average over the draws of a step
    and over the shapes of the batches that came.
    """

    def __init__(self, run: RunConfig, devices: int):
        """`devices`: how many share the work of a step."""
        self._run, self._devices = run, devices
        self._device = jax.local_devices()[0]
        self._of_shape: dict[tuple[int, ...], float] = {}
        self._begun: float | None = None
        self._restart()

    def begin(self) -> None:
        """Time runs from here: the first step, which compiles, is done."""
        self._restart()
        self._begun = time.monotonic()

    @property
    def running(self) -> bool:
        return self._begun is not None

    def count(self, latents: jax.Array, waited: float) -> None:
        """A step on the whole batch [B, T, h, w, C], for which it waited seconds."""
        self._steps += 1
        self._waited += waited
        self._operations += self._work(latents.shape)
        self._samples += latents.shape[0]
        self._tokens += math.prod(latents.shape[:4]) // self._run.model.patch**2

    def row(self, steps_left: int = 0) -> dict[str, float]:
        """Measures since the last row, which must have ended with the devices idle.

        Args:
          steps_left: of the run.

        Returns:
          step_seconds, steps_per_second, seconds_left, samples_per_second and
          tokens_per_second (of all frames of the batches, on all devices together),
          data_wait (the share of the time that steps waited for their batches), tflops
          (10^12 operations a second and device), mfu (the share that is of the chip's
          peak in bfloat16, where that is known) and device_memory_gib (the most that
          was in use, where the device tells).
        """
        if self._begun is None or not self._steps:
            return {}
        now = time.monotonic()
        seconds = max(now - self._begun, 1e-9)
        tflops = self._operations / seconds / self._devices / 1e12
        row = {
            "step_seconds": seconds / self._steps,
            "steps_per_second": self._steps / seconds,
            "seconds_left": steps_left * seconds / self._steps,
            "samples_per_second": self._samples / seconds,
            "tokens_per_second": self._tokens / seconds,
            "data_wait": min(self._waited / seconds, 1.0),
            "tflops": tflops,
        }
        chip = chip_of(self._device)
        if chip is not None:
            row["mfu"] = tflops / CHIPS[chip].tflops
        memory: dict[str, Any] = self._device.memory_stats() or {}
        if "peak_bytes_in_use" in memory:
            row["device_memory_gib"] = memory["peak_bytes_in_use"] / 2**30
        self._restart()
        self._begun = now
        return row

    def _restart(self) -> None:
        self._steps, self._waited, self._operations = 0, 0.0, 0.0
        self._samples, self._tokens = 0, 0

    def _work(self, shape: tuple[int, ...]) -> float:
        if shape not in self._of_shape:
            rows, frames, height, width, _ = shape
            tokens = height * width // self._run.model.patch**2
            work = step_flops(self._run, frames, tokens, rows)
            self._of_shape[shape] = work.total
        return self._of_shape[shape]
