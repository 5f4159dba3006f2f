"""How far a session has come from its source, and how much of that is drift.

Nobody has told which pixels an instruction means. But where no turn changed a pixel by
more than `VISIBLE` at once, no turn made an edit that one sees; what adds up there all
the same, turn after turn, is drift. What a turn damages at one blow passes for an edit.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation

from anchoredit_jax.session.turns import Turn

VISIBLE = 32  # of 255, in any channel: what a turn changes less is not called an edit
_SIDE = 256  # pixels of the longer side that are looked at; enough for a mean
_LEAST = 0.01  # share of the image that is enough to measure on


class Drift(NamedTuple):
    """Mean absolute differences from the source, of 255; its own 0 comes first.

    Attributes:
      whole: turn by turn, over all pixels: what was asked for, mostly.
      untouched: the same over the pixels that no turn changed visibly; None where these
        are too few.
      share: of the image that is untouched, 0..1.
    """

    whole: list[float]
    untouched: list[float] | None
    share: float


def measure_drift(turns: Sequence[Turn]) -> Drift:
    """The drift of a history, the source first."""
    step = math.ceil(max(turns[0].pixels.shape[:2]) / _SIDE)
    frames = [turn.pixels[::step, ::step].astype(np.int16) for turn in turns]
    touched = np.zeros(frames[0].shape[:2], bool)
    for before, after in zip(frames[:-1], frames[1:], strict=True):
        touched |= np.abs(after - before).max(-1) > VISIBLE
    # An edit's soft edge belongs to the edit.
    untouched = ~binary_dilation(touched, np.ones((3, 3), bool))
    apart = [np.abs(frame - frames[0]).mean(-1) for frame in frames]
    share = float(untouched.mean())
    return Drift(
        whole=[float(each.mean()) for each in apart],
        untouched=[float(each[untouched].mean()) for each in apart]
        if share >= _LEAST
        else None,
        share=share,
    )
