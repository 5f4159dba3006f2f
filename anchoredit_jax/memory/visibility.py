"""Which frame sees which: the one rule that training and inference share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

MODES = ("bidirectional", "causal", "teacher_forcing", "history_and_targets")


@struct.dataclass
class FrameVisibility:
    """Frame-level visibility of self-attention (design 3.3).

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
      sample_window, sample_sink: int32 [B], the same two numbers per sample, traced
        (0 = unlimited window): they narrow the static rule. None: not used.
    """

    mode: str = struct.field(pytree_node=False, default="causal")
    window: int | None = struct.field(pytree_node=False, default=None)
    sink: int = struct.field(pytree_node=False, default=0)
    sample_window: Any = None
    sample_sink: Any = None

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {self.mode!r}")
        if self.window is not None and self.window <= self.sink:
            raise ValueError(
                f"a window of {self.window} frames cannot hold {self.sink} sink frames "
                "and the frame itself; make window larger than sink"
            )

    def table(self, frames: int) -> np.ndarray:
        """The static rule as bool [frames, frames] (rows are queries)."""
        query, key = np.indices((frames, frames))
        if self.mode == "bidirectional":
            return np.ones((frames, frames), bool)
        if self.mode == "teacher_forcing":
            half = frames // 2
            clean_key = (query >= half) & (key < half)
            source = clean_key & (key == 0)
            return (query == key) | source | (clean_key & (key < query - half))
        return self._windowed(query, key, self.window or frames, self.sink)

    def sample_table(self, frames: int) -> jax.Array | None:
        """The per-sample rule as bool [B, frames, frames], or None where unused."""
        if self.sample_window is None:
            return None
        query, key = np.indices((frames, frames))[:, None]
        window = self.sample_window[:, None, None]
        window = jnp.where(window == 0, frames, window)
        return self._windowed(query, key, window, self.sample_sink[:, None, None])

    def _windowed(self, query, key, window, sink):
        rule = _causal
        if self.mode == "history_and_targets":
            rule = _history_and_targets
        return rule(query, key, window, sink)


def _causal(query, key, window, sink):
    """Sinks plus the last frames, `window` frames in all, up to the query itself."""
    return (key <= query) & ((key < sink) | (key > query - (window - sink)))


def target_places(frames: int) -> np.ndarray:
    """Turn of each frame of "history_and_targets": 0..T-1, then 1..T."""
    half = frames // 2
    return np.concatenate([np.arange(half), np.arange(1, half + 1)])


def _history_and_targets(query, key, window, sink):
    """Causal by turn; no frame sees a target but itself, nor a target its answer."""
    frames = query.shape[-1]
    history, turns = np.arange(frames) < frames // 2, target_places(frames)
    past = history[key] & (history[query] | (turns[key] < turns[query]))
    return _causal(turns[query], turns[key], window, sink) & (past | (query == key))
