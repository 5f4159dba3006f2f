"""Times of several functions, taken in turns, so that a slow minute hits them all."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

PAUSE = 0.1  # seconds, in which the other's worker threads stop spinning


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of each repetition of one function, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio_to(self, other: "Timing") -> float:
        """Median over the repetitions of ours divided by the other's next to it."""
        pairs = zip(self.seconds, other.seconds, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def interleave(
    functions: Mapping[str, Callable[[], Any]], repetitions: int = 10
) -> dict[str, Timing]:
    """Call each function once to compile it, then all in turns.

    Args:
      functions: by name; what they return is waited for if it holds JAX arrays.
      repetitions: timed calls of each.
    """
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
