"""What is evaluated: a source image, its instructions and, where known, the truth."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np

from anchoredit_jax.data.sprites import SpriteSession
from anchoredit_jax.evaluation.sprites import render_truth


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One session to run, at the model's size.

    Attributes:
      name: unique in its dataset; letters, digits, "_", "-" and ".".
      source: uint8 [H, W, 3].
      instructions: N texts; "" is the null instruction.
      read_truth: gives uint8 [N + 1, H, W, 3], the source and the right result of every
        instruction; None where nothing tells what is right.
      sprite: the scenes behind a sprite session, which tell more than its pixels.
      returns_to: per instruction, the turn whose image is right again ("undo the last
        change"; 0: the source), None where the image is to be a new one; () where
        nothing is known.
    """

    name: str
    source: np.ndarray
    instructions: tuple[str, ...]
    read_truth: Callable[[], np.ndarray] | None = None
    sprite: SpriteSession | None = None
    returns_to: tuple[int | None, ...] = ()

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits of the source's pixels and the instructions."""
        told = json.dumps([self.source.shape, self.instructions]).encode()
        return hashlib.sha256(told + self.source.tobytes()).hexdigest()[:16]


def sprite_cases(sessions: Sequence[SpriteSession], size: int) -> list[Case]:
    """Sprite sessions drawn at `size` pixels a side; their truth is exact."""
    return [
        Case(
            name=f"sprite_{number:05d}",
            source=render_truth([session], size)[0, 0],
            instructions=tuple(edit.text for edit in session.edits),
            read_truth=lambda session=session: render_truth([session], size)[0],
            sprite=session,
        )
        for number, session in enumerate(sessions)
    ]


def identity_cases(cases: Sequence[Case], turns: int) -> list[Case]:
    """The identity loop: the null instruction, `turns` times; the source is the truth.

    What differs from the source then is drift and nothing else.
    """

    def still(source):
        return np.broadcast_to(source, (turns + 1, *source.shape))

    return [
        Case(
            name=case.name,
            source=case.source,
            instructions=("",) * turns,
            read_truth=functools.partial(still, case.source),
        )
        for case in cases
    ]
