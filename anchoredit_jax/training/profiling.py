"""A profiler trace of some steps of a run, and of nothing else."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax

from anchoredit_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ProfileWindow:
    """The steps that a trace holds: those after step `first` up to step `last`.

    The first step of a run compiles: a window that begins where the run begins (or goes
    on) holds that too.
    """

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "ProfileWindow":
        """Read "10:13", steps 11, 12 and 13.

        Raises:
          UserError: it is not of that form, or holds no step.
        """
        match = re.fullmatch(r"(\d+):(\d+)", text.strip())
        window = cls(*map(int, match.groups())) if match else None
        if window is None or window.first >= window.last:
            raise UserError(
                f"a window of steps is FIRST:LAST, as 10:13 for steps 11, 12 and 13; "
                f"got {text!r}"
            )
        return window

    def check(self, start: int, steps: int) -> None:
        """UserError unless a run from step `start` to `steps` does all of its steps."""
        if self.first < start or self.last > steps:
            raise UserError(
                f"steps after {self.first} up to {self.last} are to be profiled, this "
                f"run does those after {start} up to {steps}"
            )


class Profiler:
    """Writes the trace of a window; as a context it closes a trace that is open."""

    def __init__(self, window: ProfileWindow | None, folder: Path, start: int):
        """`start`: the step that the run begins or goes on at."""
        self._window, self._folder, self._open = window, folder, False
        self._start = start

    def after(self, step: int, metrics: Any) -> None:
        """Open or close the trace after a step, which is waited for at both ends."""
        if self._window is None or step not in (self._window.first, self._window.last):
            return
        jax.block_until_ready(metrics)
        if step == self._window.first:
            self._begin()
        else:
            self._end()

    def __enter__(self) -> "Profiler":
        if self._window is not None and self._window.first == self._start:
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _begin(self) -> None:
        jax.profiler.start_trace(str(self._folder))
        self._open = True

    def _end(self) -> None:
        if self._open:
            self._open = False
            jax.profiler.stop_trace()
