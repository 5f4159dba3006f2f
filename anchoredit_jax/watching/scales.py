"""Heights of a chart: from what to what, linear or logarithmic, and the marks on it."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

LOGARITHMIC = 20.0  # greatest to least value, from which on few would be told apart


@dataclasses.dataclass(frozen=True)
class Scale:
    """Values from `low` (at the bottom, 0) to `high` (at the top, 1)."""

    low: float
    high: float
    log: bool

    def height(self, values: np.ndarray | float) -> np.ndarray:
        low, high, values = self.low, self.high, np.asarray(values, np.float64)
        if self.log:
            low, high, values = math.log10(low), math.log10(high), np.log10(values)
        return (values - low) / (high - low)

    def marks(self, factor: float = 1.0) -> list[float]:
        """Values to write beside the axis, some 2 to 6: round ones if multiplied so."""
        if not self.log:
            steps = _round_steps(self.low * factor, self.high * factor)
            return [step / factor for step in steps]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, (last - first) // 5)
        digits = (1, 2, 5) if self.high / self.low < 200 else (1,)
        found = [
            digit * 10.0**power
            for power in range(first, last + 1, every)
            for digit in digits
        ]
        return [mark for mark in found if self.low <= mark <= self.high]


def make_scale(values: Sequence[np.ndarray], from_zero: bool = False) -> Scale:
    """The scale that shows all values; logarithmic if they are positive and far apart.

    Args:
      values: arrays, one value in them at least.
    """
    low = float(min(array.min() for array in values))
    high = float(max(array.max() for array in values))
    if from_zero:
        low = min(low, 0.0)
    elif low > 0 and high / low > LOGARITHMIC:
        return Scale(low, high, True)
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1e-300):
        room = abs(low) / 2 or 1.0
        low, high = (low if from_zero else low - room), high + room
    step = _round_step(low, high)
    return Scale(math.floor(low / step) * step, math.ceil(high / step) * step, False)


def short(value: float) -> str:
    """A number in few letters: 0.0123, 12.3, 1,234, 1.2M, 3e-05."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e12):
        return f"{value:.2g}"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e5, "k")):
        if size >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[letter]:.3g}{letter}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}"


def _round_step(low: float, high: float) -> float:
    """About a quarter from one to the other."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(s for s in (1, 2, 5, 10) if s * power >= rough * 0.999)


def _round_steps(low: float, high: float) -> list[float]:
    step = _round_step(low, high)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
