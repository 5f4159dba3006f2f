"""Turns of published test sets, and the cases made of them."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.images import decode_image, fit_image
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.models.text import check_length


@dataclasses.dataclass(frozen=True)
class Turn:
    """One turn of a published session.

    Attributes:
      instruction: its text.
      source: the image before it; None after the first turn where nobody knows it.
      target: the right image after it; None where nobody knows it.
      caption: describes the target; None without one.
    """

    instruction: str
    source: Path | None
    target: Path | None = None
    caption: str | None = None


def session_case(
    name: str, turns: Sequence[Turn], size_of: Callable[[Size], Size]
) -> Case:
    """All turns, each from what the model made of the one before (multi-turn)."""
    decoded = decode_image(turns[0].source)
    source, _ = fit_image(decoded, size_of(decoded.shape[:2]))
    targets = [turn.target for turn in turns]
    known = all(target is not None for target in targets)
    return Case(
        name,
        source,
        tuple(turn.instruction for turn in turns),
        functools.partial(_read_truth, source, targets) if known else None,
        read_targets=functools.partial(_read, targets) if known else None,
        captions=tuple(turn.caption for turn in turns),
    )


def turn_cases(
    name: str, turns: Sequence[Turn], size_of: Callable[[Size], Size]
) -> list[Case]:
    """Each turn from the right image before it (single-turn)."""
    return [
        session_case(f"{name}_{f'inde_{k}' if k > 1 else k}", [turn], size_of)
        for k, turn in enumerate(turns, 1)
    ]


def _read(files: Sequence[Path]) -> list[np.ndarray]:
    return [decode_image(file) for file in files]


def _read_truth(source: np.ndarray, files: Sequence[Path]) -> np.ndarray:
    size = source.shape[:2]
    return np.stack([source, *(fit_image(image, size)[0] for image in _read(files))])


def inside(root: Path, name: object, what: str) -> Path:
    """The file of a name that a document gives, inside of a folder.

    Raises:
      UserError: no name, one that leads out of the folder, or no such file.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"{what} must be the name of a file, given {name!r}")
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name:
        raise UserError(f"{what} {name!r} leads out of the folder: name a file in it")
    path = root / place
    if not path.is_file():
        raise UserError(f"{what} {name!r} is not there")
    return path


def checked_text(text: object, what: str) -> str:
    """A text that a document gives.

    Raises:
      UserError: it is none, or longer than any text may be.
    """
    if not isinstance(text, str):
        raise UserError(f"{what} must be a text, given {text!r:.80}")
    check_length(text)
    return text
