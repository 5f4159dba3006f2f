"""What the page shows of someone's branches, as pictures and texts.

Nothing here knows of the page's library or keeps anything: all is computed from the
branches that are given.
"""

from typing import NamedTuple

import matplotlib
import numpy as np

from anchoredit_jax.data.images import Crop, resize
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.contact_sheet import to_sheet_size
from anchoredit_jax.session.drift import Drift, measure_drift
from anchoredit_jax.session.edit_session import EditSession

LARGEST_SHOWN = 2048  # pixels of the longer side of what the page shows
HOTTEST = 128  # mean difference, of 255, that has the heat map's brightest colour
_COLOURS = "inferno"


class View(NamedTuple):
    """What the page shows.

    Attributes:
      strip: every turn, undone ones too, small, with its caption.
      selected: number of the current turn.
      source, result: uint8 [H, W, 3], the source and the current turn; at most
        `LARGEST_SHOWN` pixels wide and high.
      difference: uint8 [H, W, 3], where they differ.
      drift: how far the turns are from the source.
      status, details: a line on where one is, and one on how it is edited.
      names, current: all branches, and which one this is.
    """

    strip: list[tuple[np.ndarray, str]]
    selected: int
    source: np.ndarray
    result: np.ndarray
    difference: np.ndarray
    drift: Drift
    status: str
    details: str
    names: tuple[str, ...]
    current: str


def view(branches: Branches) -> View:
    """Collect what the page shows."""
    session = branches.session
    source, current = session.history[0], session.history[-1]
    return View(
        strip=strip(session),
        selected=session.turn,
        source=_as_shown(source.pixels, session.crop),
        result=_as_shown(current.pixels, session.crop),
        difference=_as_shown(heat_map(source.pixels, current.pixels), session.crop),
        drift=measure_drift(session.history),
        status=describe(branches),
        details=describe_editing(session),
        names=branches.names,
        current=branches.current,
    )


def _as_shown(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """The model's image at the size of the crop in the source, or smaller where that is
    larger than `LARGEST_SHOWN`."""
    height, width = crop.box_size
    scale = min(1.0, LARGEST_SHOWN / max(height, width))
    return resize(pixels, (max(1, round(scale * height)), max(1, round(scale * width))))


def strip(session: EditSession) -> list[tuple[np.ndarray, str]]:
    """(uint8 [h, w, 3], caption) of every turn, those that were undone too."""
    return [
        (
            to_sheet_size(turn.pixels),
            turn.caption + (" (undone)" if turn.number > session.turn else ""),
        )
        for turn in session.turns
    ]


def heat_map(source: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Where two images uint8 [H, W, 3] differ, in colours of a fixed scale: black is
    equal, the brightest is a mean difference of `HOTTEST` and more."""
    apart = np.abs(source.astype(np.float32) - image).mean(-1) / HOTTEST
    colours = matplotlib.colormaps[_COLOURS](np.minimum(apart, 1.0))
    colours[apart == 0, :3] = 0.0
    return np.round(255 * colours[..., :3]).astype(np.uint8)


def describe(branches: Branches) -> str:
    """Which branch and turn is worked on."""
    session = branches.session
    turn, undone = session.history[-1], len(session.turns) - len(session.history)
    where = f"turn {turn.number}, seed {turn.seed}" if turn.number else "the source"
    parts = [f"branch {branches.current}", where]
    if undone:
        parts.append(f"{undone} undone, replaced by the next edit unless you branch")
    return "; ".join(parts)


def describe_editing(session: EditSession) -> str:
    """Where the image lies in the source, how turns are drawn, what is remembered."""
    sampler, memory = session.editor.sampler, session.editor.memory
    return (
        f"{session.crop.describe()}; {session.editor.steps} steps, guidance "
        f"{sampler.guidance:g}; {memory.describe()}"
    )
