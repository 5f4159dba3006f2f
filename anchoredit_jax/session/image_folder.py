"""The same instructions for every image of a folder, one result folder each."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.session.edit_session import EditSession, OnStep
from anchoredit_jax.session.editor import Editor
from anchoredit_jax.session.result_folder import (
    GrowingResult,
    check_target,
    describe_image,
)

SUFFIXES = tuple(
    ".png .jpg .jpeg .jpe .mpo .webp .avif .gif .bmp .tif .tiff .ppm .pgm .pbm .jp2 "
    ".j2k".split()
)


def find_images(folder: str | os.PathLike) -> dict[str, Path]:
    """Name of the result -> image: the file's name without its ending, or the whole
    name where two files would share it. Files with other endings are not images.

    Raises:
      UserError: there is none.
    """
    paths = sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in SUFFIXES and not path.is_dir() and path.name[0] != "."
    )
    if not paths:
        raise UserError(
            f"folder {str(folder)!r} holds no image; a name must end in one of "
            + ", ".join(SUFFIXES)
        )
    stems = [path.stem.lower() for path in paths]  # as folders' names may be compared
    return {
        path.name if stems.count(path.stem.lower()) > 1 else path.stem: path
        for path in paths
    }


def edit_image(
    editor: Editor,
    path: str | os.PathLike,
    image: np.ndarray,
    instructions: Sequence[str],
    seed: int,
    out: str | os.PathLike,
    say: Callable[[str], None],
    on_step: OnStep | None = None,
) -> Path:
    """Edit one image and write its result folder, turn by turn; see `result_folder`.

    Args:
      path, image: the file, and what is in it, uint8 [H, W, 3].
      say: is told, before the first turn, what size the image is edited at.
      on_step: as of `EditSession.edit`, for every instruction.

    Raises:
      UserError: the image, an instruction, or the folder is refused. Turns that were
        made before are kept.
    """
    origin = {"image": describe_image(path)}
    target = check_target(out)
    session = editor.start(image, seed)
    say(f"{Path(path).name}: {session.crop.describe()}")
    return edit_on(session, instructions, target, origin, on_step)


def edit_on(
    session: EditSession,
    instructions: Sequence[str],
    out: str | os.PathLike,
    origin: Mapping[str, Any],
    on_step: OnStep | None = None,
) -> Path:
    """Go on with a session; every turn is on the disk before the next one is begun.

    Args:
      origin: JSON values on where the session comes from.

    Raises:
      UserError: as `edit_image`.
    """
    growing = GrowingResult(out, session.turn + len(instructions))
    for turn in session.history:
        growing.add(turn)
    for instruction in instructions:
        session.edit(instruction, on_step=on_step)
        growing.add(session.history[-1])
    return growing.finish(session, origin)
