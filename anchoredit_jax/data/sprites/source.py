"""Sprite sessions as records with images, made on demand.

The records are {"images": uint8 [T, H, W, 3], "instructions": list of N str, "answers":
bool [N, H, W], "id": int}; the stored ones of `records` are the same under the same
indices, and both sources are what `grain.MapDataset.source` takes. An instruction such
as "add a red ring somewhere" has more than one right answer; the images show one of
them, and "answers" is True where any of them changes the image (nowhere, for an
instruction with one answer). Sessions made on demand may leave turns out behind the
source: their records say so with "follows", N bool, False where an image does not
follow from the ones before. They may also drop instructions: the null instruction then
stands for an edit.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anchoredit_jax.data.runs import Run, all_turns, successive
from anchoredit_jax.data.sprites.instructions import (
    NULL_INSTRUCTION,
    Edit,
    check_weights,
)
from anchoredit_jax.data.sprites.render import render
from anchoredit_jax.data.sprites.sessions import (
    DEFAULT_WEIGHTS,
    SpriteSession,
    check_layout,
    draw_skip,
    sample_session,
)
from anchoredit_jax.errors import UserError

ENDLESS = 2**31 - 1  # sessions of a source without an end: all indices of an int32


@dataclasses.dataclass(frozen=True)
class SpriteSource:
    """Sessions made and rendered when asked for; see `sample_session`.

    Record i is the same for ever, whichever process makes it. The fields are all that
    decides it; `DataConfig` and `SpritesConfig` of `data.config` say what they mean.

    Raises:
      UserError: A field is out of range, or a star is to leave turns out.
    """

    turns: int
    seed: int = 0
    size: int = 32
    weights: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: dict(DEFAULT_WEIGHTS)
    )
    null_fraction: float = 0.0
    length: int = ENDLESS
    layout: str = "chain"
    skip_turns: int = 0
    skip_probability: float = 0.5
    drop_fraction: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("turns", self.turns), ("sessions", self.length)):
            if value < 1:
                raise UserError(f"{name} must be 1 or more, got {value}")
        check_weights(self.weights)
        check_layout(self.layout)
        if self.layout == "star" and self.skip_turns:
            raise UserError("a star has no turns to leave out: skip_turns must be 0")

    def __len__(self) -> int:
        return self.length

    def skipped(self, index: int) -> int:
        """How many turns behind the source its record leaves out."""
        return draw_skip(self.seed, index, self.skip_turns, self.skip_probability)

    def session(self, index: int) -> SpriteSession:
        """The whole session behind a record, with its ground truth."""
        if not 0 <= index < self.length:
            raise IndexError(f"session {index} of {self.length}")
        return sample_session(
            self.seed,
            index,
            self.turns + self.skipped(index),
            self.weights,
            self.null_fraction,
            self.layout,
        )

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.records([int(index)])[0]

    def records(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Make several records, whose scenes are rendered together."""
        sessions = [self.session(index) for index in indices]
        runs = [self._run(session) for session in sessions]
        scenes = [
            session.scenes[frame]
            for session, run in zip(sessions, runs, strict=True)
            for frame in run.frames
        ]
        images = render(scenes, self.size)
        images = images.reshape(len(indices), self.turns + 1, *images.shape[1:])
        return [
            {
                "images": images[i],
                "instructions": self._instructions(session, run),
                "answers": np.stack(
                    [
                        _answers(session.edits[frame - 1], self.size)
                        for frame in run.frames[1:]
                    ]
                ),
                "follows": list(run.targets),
                "id": session.index,
            }
            for i, (session, run) in enumerate(zip(sessions, runs, strict=True))
        ]

    def _run(self, session: SpriteSession) -> Run:
        """What is shown of a session: the source and its last turns."""
        edits = len(session.edits)
        skipped = edits - self.turns
        return successive(all_turns(edits), skipped + 1 if skipped else 0, edits)

    def _instructions(self, session: SpriteSession, run: Run) -> list[str]:
        run = run.drop(self.drop_fraction, "sprites", self.seed, session.index)
        return [
            NULL_INSTRUCTION if turn is None else session.edits[turn].text
            for turn in run.turns
        ]


def _answers(edit: Edit, size: int) -> np.ndarray:
    """Bool [H, W]: where a right answer changes the image, if there are several."""
    if len(edit.valid) == 1:
        return np.zeros((size, size), bool)
    before, *answers = render((edit.before, *edit.valid), size)
    return (np.stack(answers) != before).any((0, -1))
