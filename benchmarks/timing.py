"""Times of several functions, taken in turns, so that a slow minute hits them all."""

import contextlib
import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

PAUSE = 0.1  # seconds, in which the other's worker threads stop spinning


@dataclasses.dataclass(frozen=True)
class Timing:
    """Each repetition of one function, in order.

    Attributes:
      seconds: that passed.
      cpu: seconds that all threads of this process computed in them; another program
        on the same cores makes `seconds` longer, and hardly these.
    """

    seconds: tuple[float, ...]
    cpu: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio_to(self, other: "Timing") -> float:
        """Median over the repetitions of ours divided by the other's next to it."""
        return _ratio(self.seconds, other.seconds)

    def cpu_ratio_to(self, other: "Timing") -> float:
        """The same of the seconds that were computed."""
        return _ratio(self.cpu, other.cpu)


def _ratio(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


@contextlib.contextmanager
def pinned(cores: int | None) -> Iterator[int]:
    """This thread, and those that it starts, have so many cores; the number is given.

    Threads that run already keep theirs: pin before JAX or torch make theirs. Where the
    system cannot pin (it is Linux that can), or with None, all cores are used.
    """
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    before = os.sched_getaffinity(0)
    chosen = sorted(before)[:cores]
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, before)


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
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            time.sleep(PAUSE)
            start, computed = time.perf_counter(), time.process_time()
            jax.block_until_ready(function())
            taken[name].append(
                (time.perf_counter() - start, time.process_time() - computed)
            )
    return {name: Timing(*zip(*pairs, strict=True)) for name, pairs in taken.items()}
