"""Finished sessions of an evaluation, a picture file each: a stopped one goes on.

A file holds the results of all turns below each other, so that it can be looked at. It
appears whole or not at all.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.cases import Case

_SETTINGS = "settings.json"
_DIGEST = "case"


@dataclasses.dataclass(frozen=True)
class FrameStore:
    """The folder of one checkpoint, memory and sampler. Made by `open_store`."""

    folder: Path

    def holds(self, case: Case) -> bool:
        """Tell whether the session is finished.

        Raises:
          UserError: there is another session of this name, or no picture.
        """
        path = self._path(case)
        if not path.exists():
            return False
        with _readable(path), Image.open(path) as picture:
            digest = picture.info.get(_DIGEST)
        if digest != case.digest:
            raise UserError(
                f"{path} is of another source or other instructions than this "
                "evaluation's: give another --out, or remove the file"
            )
        return True

    def write(self, case: Case, frames: np.ndarray) -> None:
        """Keep uint8 [N, H, W, 3], the result of every instruction."""
        told = PngImagePlugin.PngInfo()
        told.add_text(_DIGEST, case.digest)
        strip = Image.fromarray(frames.reshape(-1, *frames.shape[2:]))
        with files.appearing(self._path(case)) as part:
            strip.save(part, format="png", pnginfo=told)

    def read(self, case: Case) -> np.ndarray:
        """uint8 [N, H, W, 3] of a finished session."""
        path = self._path(case)
        with _readable(path), Image.open(path) as picture:
            pixels = np.asarray(picture)
        return pixels.reshape(len(case.instructions), -1, *pixels.shape[1:])

    def _path(self, case: Case) -> Path:
        return self.folder / f"{case.name}.png"


def open_store(folder: Path, settings: Mapping[str, Any]) -> FrameStore:
    """A store for results of these settings, which may hold some already.

    Args:
      settings: all that a result depends on but its case, as JSON values.

    Raises:
      UserError: the folder holds results of other settings.
    """
    files.claim(folder, _SETTINGS, settings, "give another --out")
    return FrameStore(folder)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError) as error:  # Pillow raises both for broken files
        raise UserError(
            f"{path} is damaged ({error}): remove it, it will be made again"
        ) from error
