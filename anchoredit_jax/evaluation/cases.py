"""What is evaluated: a source image, its instructions and, where known, the truth."""

import dataclasses
import functools
import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from anchoredit_jax import files
from anchoredit_jax.data.sprites import (
    AMBIGUOUS_KINDS,
    SpriteScores,
    SpriteSession,
    SpriteView,
    render_truth,
    score_sessions,
    square_view,
)
from anchoredit_jax.evaluation.table import Measure

_RATE = (0.0, 1.03)
SPRITE_MEASURES = (
    Measure("success", "edit success", "", True, _RATE),
    Measure("subject_psnr", "subject PSNR", "dB", True),
    Measure("retrieved", "right subject of 48", "", True, _RATE),
    Measure("untouched_psnr", "untouched PSNR", "dB", True),
    Measure("covered_psnr", "PSNR under the cover", "dB", True),
    Measure("state", "whole state right", "", True, _RATE),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One session to run, at the size that its source is edited at.

    Attributes:
      name: unique in its dataset; letters, digits, "_", "-" and ".".
      source: uint8 [H, W, 3].
      instructions: N texts; "" is the null instruction.
      read_truth: gives uint8 [N + 1, H, W, 3], the source and the right result of every
        instruction; None where nothing tells what is right.
      sprite: the scenes behind a sprite session, which tell more than its pixels.
      view: how these scenes are seen; of sprite sessions only.
      read_targets: gives the right result of every instruction at its own size, uint8
        [H', W', 3] each, as published metrics compare with it; None where there is no
        such protocol.
      captions: per instruction, what describes its right result; None, or () for all,
        where nothing does.
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
    view: SpriteView | None = None
    read_targets: Callable[[], list[np.ndarray]] | None = None
    captions: tuple[str | None, ...] = ()

    @property
    def shape(self) -> str:
        """Height and width of a sprite's picture, else of the source, as in "48x64"."""
        if self.view is not None:
            return self.view.name
        return "x".join(map(str, self.source.shape[:2]))

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits of the source's pixels and the instructions."""
        told = json.dumps([self.source.shape, self.instructions]).encode()
        return files.sha256(told, self.source.tobytes(), digits=16)


def sprite_cases(
    sessions: Sequence[SpriteSession], views: int | Sequence[SpriteView]
) -> list[Case]:
    """Sprite sessions with their exact truth.

    Args:
      views: equally many sessions are seen in each, neighbours in the same one as many
        as there are ambiguous kinds, which follow each other; or the side of squares.
    """
    if isinstance(views, int):
        views = [square_view(views)]
    seen = [
        views[number // len(AMBIGUOUS_KINDS) % len(views)]
        for number in range(len(sessions))
    ]
    return [
        Case(
            name=f"sprite_{number:05d}",
            source=view.draw(session.scenes[:1])[0],
            instructions=tuple(edit.text for edit in session.edits),
            read_truth=functools.partial(_render_one, session, view),
            sprite=session,
            view=view,
        )
        for number, (session, view) in enumerate(zip(sessions, seen, strict=True))
    ]


def _render_one(session: SpriteSession, view: SpriteView) -> np.ndarray:
    return render_truth([session], view)[0]


def sprite_views(settings: Any, editor: Any) -> list[SpriteView]:
    """Of the shapes that the settings name; without any, of the square that the editor
    was trained at."""
    views = [SpriteView(shape, editor.size_of(shape)) for shape in settings.shapes]
    return views or [square_view(editor.size_of((editor.side, editor.side)))]


def followed(scores: SpriteScores) -> dict[str, np.ndarray]:
    """The scores of `SPRITE_MEASURES` by name, float [n, N]."""
    return {measure.name: getattr(scores, measure.name) for measure in SPRITE_MEASURES}


def score_cases(cases: Sequence[Case], frames: Sequence[np.ndarray]) -> SpriteScores:
    """The scores of sprite cases, in their order, whatever their views.

    Args:
      cases: n sessions of N edits each.
      frames: of each, uint8 [N, H, W, 3], the result of every edit.
    """
    found: dict[str, np.ndarray] = {}
    for rows in rows_by(case.view for case in cases).values():
        scores = score_sessions(
            [cases[row].sprite for row in rows],
            np.stack([frames[row] for row in rows]),
            cases[rows[0]].view,
        )
        for field in dataclasses.fields(scores):
            value = getattr(scores, field.name)
            dtype = value.dtype if value.dtype.kind != "U" else object
            whole = found.setdefault(
                field.name, np.empty((len(cases), *value.shape[1:]), dtype)
            )
            whole[rows] = value
    return SpriteScores(**found)


def rows_by(keys: Iterable[Hashable]) -> dict[Any, list[int]]:
    """Numbers of the rows of each key, keys in the order in which they appear."""
    rows: dict[Any, list[int]] = {}
    for number, key in enumerate(keys):
        rows.setdefault(key, []).append(number)
    return rows
