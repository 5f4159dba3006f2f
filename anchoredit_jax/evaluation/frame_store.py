"""Finished sessions of an evaluation, a picture file each: a stopped one goes on.

A file holds the results of all turns below each other, so that it can be looked at. It
appears whole or not at all.
"""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from anchoredit_jax import files
from anchoredit_jax.data.images import DAMAGE
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.cases import Case

_SETTINGS = "settings.json"
SETTINGS = {"weights", "memory", "sampler", "seed"}  # that results depend on
_DIGEST = "case"
_PIXELS = "pixels"  # digest of them; earlier versions wrote none


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
        with _open(path) as picture:
            digest = picture.info.get(_DIGEST)
            if digest == case.digest:
                _check_size(path, picture, case)
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
        told.add_text(_PIXELS, files.sha256(np.ascontiguousarray(frames).data))
        strip = Image.fromarray(frames.reshape(-1, *frames.shape[2:]))
        with files.appearing(self._path(case)) as part:
            strip.save(part, format="png", pnginfo=told)

    def read(self, case: Case) -> np.ndarray:
        """uint8 [N, H, W, 3] of a finished session.

        Raises:
          UserError: the picture is damaged, edited, or of another size.
        """
        path = self._path(case)
        with _open(path) as picture:
            _check_size(path, picture, case)
            pixels = np.ascontiguousarray(picture)
            digest = picture.info.get(_PIXELS)
        if digest is not None and digest != files.sha256(pixels.data):
            raise UserError(
                f"{path} was edited or is damaged: its pixels do not fit their digest: "
                "remove it, it will be made again"
            )
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


def check_stores(frames: Path, advice: str) -> None:
    """Refuse a folder whose stores, <checkpoint>/<part>/<memory>, others made.

    Raises:
      UserError: a file is in the place of a folder, or a folder of no store in that
        of a store.
    """
    for place in (frames, *frames.glob("*"), *frames.glob("*/*")):
        if os.path.lexists(place) and not place.is_dir():
            raise UserError(f"{str(place)!r} is not a folder of results: {advice}")
    for folder in frames.glob("*/*/*"):
        if files.is_claimed(folder, _SETTINGS, advice):
            there = files.read_json(folder / _SETTINGS, advice)
            if not there.keys() >= SETTINGS:
                raise UserError(f"{str(folder)!r} holds no results: {advice}")


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked
            with Image.open(path, formats=("PNG",)) as picture:
                yield picture
    except UserError:
        raise
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}): remove it, it will "
            "be made again"
        ) from error


def _check_size(path: Path, picture: Image.Image, case: Case) -> None:
    """Refuse, before a pixel is decoded, what `FrameStore.write` did not write."""
    height, width, _ = case.source.shape
    expected = ("RGB", (width, height * len(case.instructions)))
    if (picture.mode, picture.size) != expected:
        raise UserError(
            f"{path} is damaged: expected a picture {expected}, found "
            f"{(picture.mode, picture.size)}: remove it, it will be made again"
        )
