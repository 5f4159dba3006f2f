"""The causal memory: keys and values of the anchor and of a ring of recent frames.

A memory is a value. `commit` returns a new one, so keeping the memory of each turn
gives undo and branching for free. Nothing is ever shifted: a new frame overwrites the
oldest slot of the ring, and attention does not care about slot order, because positions
are carried by RoPE (docs/method.md, Memory).

How far information travels: a frame sees the sinks and the last `window` frames
directly. Through a network of n layers it can also be reached by frames that those saw
when *they* were computed, up to n * window frames back: an evicted frame's keys are
gone, its traces in later frames' keys are not. The sinks were committed first and saw
nothing but themselves, so what they hold of the source never degrades.
"""

import dataclasses
from typing import Any, no_type_check

import jax.numpy as jnp
from flax import struct

from anchoredit_jax.arrays import Array, Bool, Float, Int, Real
from anchoredit_jax.choices import POSITIONS
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory.visibility import FrameVisibility
from anchoredit_jax.strict import Bounded, FieldError, result


@dataclasses.dataclass(frozen=True)
class MemoryConfig(Bounded):
    """What a session remembers.

    Attributes:
      sink: how many first frames stay for ever (the anchor is frame 0).
      window: how many recent *past* frames are kept beside the sinks; None keeps all
        (the memory is then sized by `max_frames` when it is made).
      positions: "absolute" (a frame keeps its index) or "window_relative" (sinks at
        0.., window frames renumbered behind them: no position leaves the range
        0..sink + window, however long the session).
    """

    sink: int = result(1, within="[0, 1024]")
    window: int | None = result(3, within="[0, 1024]")
    positions: str = result("window_relative", within=POSITIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sink == 0 and self.window == 0:
            raise FieldError(
                self, "window", "must be 1 or more with sink 0, or no frame is held"
            )

    def describe(self) -> str:
        """In a few words: "sink 1 + window 3"."""
        if self.window is None:
            return "full history"
        return f"sink {self.sink} + window {self.window}"

    def visibility(self) -> FrameVisibility:
        """The same rule for a whole sequence: itself counts towards the window."""
        if self.window is None:
            return FrameVisibility("causal")
        return FrameVisibility("causal", self.sink + self.window + 1, self.sink)


@no_type_check  # its leaves may be anything, as those of any pytree
@struct.dataclass
class CausalMemory:
    """Keys and values of the remembered frames, of static shape.

    Attributes:
      keys, values: keys after their norm and not rotated.
      frames: the frame index a slot holds, -1 where empty.
      count: frames committed so far.
      sink: how many leading slots are pinned; the others are the ring.
      positions: the position policy, see `MemoryConfig`.
    """

    keys: Float[Array, "layers B slots L N H"]
    values: Float[Array, "layers B slots L N H"]
    frames: Int[Array, "B slots"]
    count: Int[Array, " B"]
    sink: int = struct.field(pytree_node=False)
    positions: str = struct.field(pytree_node=False)


@no_type_check  # its leaves may be anything, as those of any pytree
@struct.dataclass
class MemoryView:
    """What attention needs of a memory.

    Attributes:
      keys, values: as in the memory.
      valid: which slots hold a frame that is seen.
      positions: temporal position in frames.
      next_position: the position of the frame beside the memory.
    """

    keys: Float[Array, "layers B slots L N H"]
    values: Float[Array, "layers B slots L N H"]
    valid: Bool[Array, "B slots"]
    positions: Real[Array, "B slots"]
    next_position: Real[Array, " B"]


def init_memory(
    config: MemoryConfig,
    *,
    layers: int,
    batch: int,
    tokens: int,
    heads: int,
    head_dim: int,
    dtype: Any = jnp.float32,
    max_frames: int | None = None,
) -> CausalMemory:
    """An empty memory; created once per session, its size never changes.

    Args:
      config: what it remembers.
      layers: of the transformer.
      batch: B, sessions that go on together.
      tokens: L, tokens of a frame.
      heads, head_dim: N and H.
      dtype: of keys and values.
      max_frames: slots when `config.window` is None (full history).

    Raises:
      UserError: a full history without `max_frames`.
    """
    if config.window is not None:
        slots = config.sink + config.window
    elif max_frames is not None:
        slots = max_frames
    else:
        raise UserError(
            "full history (window None) has no size of its own: give max_frames, the "
            "source plus the largest number of turns"
        )
    shape = (layers, batch, slots, tokens, heads, head_dim)
    return CausalMemory(
        keys=jnp.zeros(shape, dtype),
        values=jnp.zeros(shape, dtype),
        frames=jnp.full((batch, slots), -1, jnp.int32),
        count=jnp.zeros((batch,), jnp.int32),
        sink=slots if config.window is None else config.sink,
        positions=config.positions,
    )


def commit(
    memory: CausalMemory,
    keys: Float[Array, "layers B 1 L N H"],
    values: Float[Array, "layers B 1 L N H"],
) -> CausalMemory:
    """Remember one clean frame.

    Args:
      memory: that of the frames before.
      keys, values: of the frame.

    Returns:
      the memory with the frame in its slot: slot f for a sink frame f, else the ring's
      oldest. A frame that has no slot (a full history that is full, a window of 0) is
      counted and not stored.
    """
    slots, sink = memory.frames.shape[1], memory.sink
    ring = slots - sink
    frame = memory.count
    slot = jnp.where(frame < sink, frame, sink + (frame - sink) % max(ring, 1))
    hit = slot[:, None] == jnp.arange(slots)[None]
    chosen = hit[None, :, :, None, None, None]
    return dataclasses.replace(
        memory,
        keys=jnp.where(chosen, keys.astype(memory.keys.dtype), memory.keys),
        values=jnp.where(chosen, values.astype(memory.values.dtype), memory.values),
        frames=jnp.where(hit, frame[:, None], memory.frames),
        count=frame + 1,
    )


def view(memory: CausalMemory) -> MemoryView:
    """Keys, values, validity and positions of a memory (docs/method.md, Memory)."""
    slots = memory.frames.shape[1]
    valid = memory.frames >= 0
    positions, next_position = memory.frames, memory.count
    if memory.positions == "window_relative":
        left = jnp.maximum(memory.count - slots, 0)  # frames that left the ring
        in_ring = memory.frames >= memory.sink
        positions = jnp.where(in_ring, memory.frames - left[:, None], memory.frames)
        next_position = jnp.minimum(memory.count, slots)
    positions = jnp.maximum(positions, 0)
    return MemoryView(memory.keys, memory.values, valid, positions, next_position)
