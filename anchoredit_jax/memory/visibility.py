"""Which frame sees which: the one rule that training and inference share."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from anchoredit_jax.arrays import Array, Bool, Int

MODES = ("bidirectional", "causal", "teacher_forcing", "history_and_targets")


@struct.dataclass
class FrameVisibility:
    """Frame-level visibility of self-attention (docs/method.md, Visibility).

    Attributes:
      mode: "bidirectional" (all see all), "causal" (frame i sees frames 0..i),
        "teacher_forcing" (the sequence is T clean frames, then T noisy ones: a clean
        frame sees itself; noisy frame i sees the clean source, clean frames < i and
        itself; window and sink do not apply) or "history_and_targets" (the sequence is
        frames 0..T-1, clean and causal, then frames 1..T to be denoised: target i sees
        what a memory would hold of frames < i, and itself).
      window: at most this many frames are seen by a causal frame, itself and the sinks
        included; None is unlimited.
      sink: the first `sink` frames stay visible however narrow the window.
      choices: (window, sink) pairs, of which every sample has one: they narrow the rule
        ("causal" and "history_and_targets" alone have a window).
      choice: int [B], traced, each sample's place in `choices`; None where only the
        choices matter (counts of work).
    """

    mode: str = struct.field(pytree_node=False, default="causal")
    window: int | None = struct.field(pytree_node=False, default=None)
    sink: int = struct.field(pytree_node=False, default=0)
    choices: tuple[tuple[int | None, int], ...] = struct.field(
        pytree_node=False, default=()
    )
    choice: Any = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {self.mode!r}")
        for window, sink in ((self.window, self.sink), *self.choices):
            if window is not None and window <= sink:
                raise ValueError(
                    f"a window of {window} frames cannot hold {sink} sink frames "
                    "and the frame itself; make window larger than sink"
                )
        if self.choices and self.mode not in _WINDOWED:
            raise ValueError(
                f"mode {self.mode!r} has no window for samples to choose: leave out "
                f"choices, or take one of {tuple(_WINDOWED)}"
            )

    def table(self, frames: int) -> Bool[np.ndarray, "T T"]:
        """What some sample sees (rows are queries)."""
        return np.any(self.tables(frames), 0)

    def tables(self, frames: int) -> Bool[np.ndarray, "choices T T"]:
        """The rule of every choice; where there is none, that of all samples."""
        query, key = np.indices((frames, frames))
        if self.mode == "bidirectional":
            return np.ones((1, frames, frames), bool)
        if self.mode == "teacher_forcing":
            half = frames // 2
            clean_key = (query >= half) & (key < half)
            source = clean_key & (key == 0)
            return ((query == key) | source | (clean_key & (key < query - half)))[None]
        whole, *narrowed = (
            _WINDOWED[self.mode](query, key, window or frames, sink)
            for window, sink in ((self.window, self.sink), *self.choices)
        )
        return np.stack([whole & table for table in narrowed] or [whole])

    def sample_table(self, frames: int) -> Bool[Array, "B T T"] | None:
        """Each sample's rule; None where all have the same at this number of frames."""
        tables = self.tables(frames)
        if (tables == tables[0]).all():
            return None
        return jnp.asarray(tables)[self.choice]

    def pairs(self, frames: int, which: str = "most") -> float:
        """Pairs of frames of which one sees the other, of the choice with the "most" or
        in the "mean" over all."""
        of_choices = self.tables(frames).sum((1, 2))
        return float(of_choices.max() if which == "most" else of_choices.mean())


def _causal(
    query: Int[np.ndarray, "T T"], key: Int[np.ndarray, "T T"], window: int, sink: int
) -> Bool[np.ndarray, "T T"]:
    """Sinks plus the last frames, `window` frames in all, up to the query itself."""
    return (key <= query) & ((key < sink) | (key > query - (window - sink)))


def target_places(frames: int) -> Int[np.ndarray, " T"]:
    """Turn of each frame of "history_and_targets": 0..T-1, then 1..T."""
    half = frames // 2
    return np.concatenate([np.arange(half), np.arange(1, half + 1)])


def _history_and_targets(
    query: Int[np.ndarray, "T T"], key: Int[np.ndarray, "T T"], window: int, sink: int
) -> Bool[np.ndarray, "T T"]:
    """Causal by turn; no frame sees a target but itself, nor a target its answer."""
    frames = query.shape[-1]
    history, turns = np.arange(frames) < frames // 2, target_places(frames)
    past = history[key] & (history[query] | (turns[key] < turns[query]))
    return _causal(turns[query], turns[key], window, sink) & (past | (query == key))


_WINDOWED = {"causal": _causal, "history_and_targets": _history_and_targets}
