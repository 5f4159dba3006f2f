"""Runs: which frames of a session make a sample, and what is said and asked of each.

Procedural and prepared sessions share this: gaps behind the source, identity turns,
dropped instructions, padding. Needs numpy alone.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from anchoredit_jax.data.keys import uniform_of

Turn = tuple[int, int | None]  # the frame a turn leads to, its instruction


@dataclasses.dataclass(frozen=True)
class Run:
    """One sample of a session. T frames, N = T - 1 turns.

    Attributes:
      frames: numbers of the frames shown; a frame may be shown twice.
      turns: N numbers of instructions, each of the frame behind it (instruction k leads
        from frame k to frame k + 1); None for the null instruction.
      targets: N, whether the frame is to be learned; else it is history only.
    """

    frames: tuple[int, ...]
    turns: tuple[int | None, ...]
    targets: tuple[bool, ...]

    def drop(self, fraction: float, *name: object) -> "Run":
        """The same run without the instructions that a hash of (`name`, turn) leaves
        out, this share of all."""
        if not fraction:
            return self
        kept = (
            None if turn is None or uniform_of(*name, turn) < fraction else turn
            for turn in self.turns
        )
        return dataclasses.replace(self, turns=tuple(kept))


def pair(edit: int) -> Run:
    """An edit by itself: the frame before it and its result."""
    return Run((edit, edit + 1), (edit,), (True,))


def identity(frame: int) -> Run:
    """A frame that the null instruction keeps."""
    return Run((frame, frame), (None,), (True,))


def all_turns(edits: int, nulls: Collection[int] = ()) -> list[Turn]:
    """A session's turns in order, those at the places `nulls` identity turns."""
    turns: list[Turn] = []
    for place in range(edits + len(nulls)):
        frame = turns[-1][0] if turns else 0
        turns.append((frame, None) if place in nulls else (frame + 1, frame))
    return turns


def successive(turns: Sequence[Turn], start: int, stop: int) -> Run:
    """The source and the turns `start` to `stop` - 1 as targets.

    Where they do not start at the source, the frame before them stands between as
    history: what lies before it is left out, and it follows from nothing shown.
    """
    shown = turns[max(start - 1, 0) : stop]
    return Run(
        (0, *(frame for frame, _ in shown)),
        tuple(turn for _, turn in shown),
        (start == 0, *[True] * (len(shown) - 1)),
    )


def padded_row(
    latents: np.ndarray,
    text: np.ndarray,
    targets: Sequence[bool],
    turns: int,
    answers: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """One row of a batch: `turns` + 1 frames, the last one repeated without weight.

    Args:
      latents: [T, h, w, C].
      text: embeddings [N, S, Dt] of the turns.
      targets: N, see `Run`.
      answers: [N, h, w], see `batches.collate`; by default every turn has one answer.
    """
    missing = turns + 1 - len(latents)
    valid = np.zeros(turns + 1, np.float32)
    valid[: len(latents)] = (1, *targets)
    several = np.zeros((turns + 1, *latents.shape[1:3]), np.float32)
    if answers is not None:
        several[1 : len(latents)] = answers
    return {
        "latents": np.concatenate([latents, np.repeat(latents[-1:], missing, 0)]),
        "text": np.pad(text, ((0, turns - len(text)), (0, 0), (0, 0))),
        "frame_valid": valid,
        "answers": several,
    }


def stack_rows(
    rows: Sequence[Mapping[str, np.ndarray]], ids: Sequence[int], null_text: np.ndarray
) -> dict[str, np.ndarray]:
    """Rows of `padded_row` -> a batch, see `batches.collate`.

    Args:
      null_text: embedding of the null instruction, [S, Dt].
    """
    batch = {
        name: np.stack([row[name] for row in rows]).astype(np.float32, copy=False)
        for name in rows[0]
    }
    batch["null_text"] = np.repeat(null_text[None], len(rows), axis=0)
    batch["id"] = np.array(ids, np.int32)
    return batch
