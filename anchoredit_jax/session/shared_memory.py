"""A memory in pieces, one per frame, so that turns and branches share the frames.

A turn's memory is a ring of several frames, of which only one is new. Kept whole, every
turn would hold all of them again; at 14B and a megapixel a frame's keys and values are
gigabytes.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, Sharding

from anchoredit_jax.memory import CausalMemory


class Frame(NamedTuple):
    """What a memory holds of one frame: keys and values [layers, B, L, N, H]."""

    keys: jax.Array
    values: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class SharedMemory:
    """The frames of a memory, by slot, and the rest of it.

    Attributes:
      slots: a slot's frame; a frame that stays is the same object in every turn.
      numbers: the frame index of every slot, -1 where empty.
      rest: the memory with no keys and values in it.
      places: how the memory's keys and values lie on their devices.
    """

    slots: tuple[Frame, ...]
    numbers: tuple[int, ...]
    rest: CausalMemory
    places: tuple[Sharding, Sharding]

    @classmethod
    def split(
        cls, memory: CausalMemory, before: "SharedMemory | None" = None
    ) -> "SharedMemory":
        """`memory` of one session (B = 1) in pieces.

        Args:
          before: that of the turn before, from which frames are taken that `memory`
            holds.
        """
        numbers = tuple(memory.frames[0].tolist())
        known = {} if before is None else before._by_number()
        slots = []
        for slot, number in enumerate(numbers):
            if number not in known:  # empty slots, all zeros, are one frame: -1
                index = jnp.asarray(slot)
                taken = _take(memory.keys, index), _take(memory.values, index)
                known[number] = Frame(*taken)
            slots.append(known[number])
        return cls(
            slots=tuple(slots),
            numbers=numbers,
            rest=memory.replace(keys=None, values=None),
            places=(memory.keys.sharding, memory.values.sharding),
        )

    def join(self) -> CausalMemory:
        """The whole memory, equal in every bit to the one that was split."""
        keys, values = (
            _stacker(place)([frame[part] for frame in self.slots])
            for part, place in enumerate(self.places)
        )
        return self.rest.replace(keys=keys, values=values)

    def _by_number(self) -> dict[int, Frame]:
        return dict(zip(self.numbers, self.slots, strict=True))


@jax.jit
def _take(stacked: jax.Array, slot: jax.Array) -> jax.Array:
    """[layers, B, slots, L, N, H] -> [layers, B, L, N, H]."""
    return jax.lax.dynamic_index_in_dim(stacked, slot, axis=2, keepdims=False)


def _stack(frames: list[jax.Array]) -> jax.Array:
    return jnp.stack(frames, axis=2)


@functools.lru_cache(maxsize=16)
def _stacker(place: Sharding):
    """`_stack`, jitted; on a mesh its result lies as the memory did, so that the next
    program finds the sharding that it was compiled for."""
    if isinstance(place, NamedSharding):
        return jax.jit(_stack, out_shardings=place)
    return jax.jit(_stack)
