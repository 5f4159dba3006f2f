"""A session's results as a folder of pictures; each is there as soon as it is made.

turn_00.png .. turn_NN.png    the source as the model sees it, then every turn, all
                              at the size of the crop in the source
model_size/turn_NN.png        the same at the size that it was edited at
contact_sheet.png             all turns with their instructions
session.json                  all that is needed to repeat the session
session.safetensors           the session itself: open it, and go on
.anchoredit.json              what all of these are, so that nothing else is replaced

Until all of it is there the folder is called `<out>.unfinished`, beside its place:
after a stop of any kind that holds what was made.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax

from anchoredit_jax import files
from anchoredit_jax.belongings import Belongings
from anchoredit_jax.errors import UserError, refusing_os_errors
from anchoredit_jax.session import session_file
from anchoredit_jax.session.contact_sheet import draw_contact_sheet
from anchoredit_jax.session.edit_session import EditSession
from anchoredit_jax.session.turns import Turn

_PROBE = 1 << 16  # bytes that a disk has to take before any work is done
UNFINISHED = ".unfinished"
Writing = Callable[[str], AbstractContextManager[Path]]  # yields where to write a name
_ADVICE = "choose a new folder for the result"


def check_target(out: str | os.PathLike) -> Path:
    """Refuse, before any work is done, a folder that cannot be written in the end.

    An earlier result there will be replaced; a folder that holds anything else, or a
    picture that somebody changed since, is left alone, one of unfinished results too.

    Raises:
      UserError: `out` is a file, holds other files, cannot be made or takes no file.
    """
    out = Path(out)
    with refusing_os_errors(f"folder {str(out)!r} cannot be written"):
        for folder in (out, unfinished(out), _replaced(out)):
            Belongings(folder, _ADVICE).check()
        _check_place(out)
    return out


def unfinished(out: Path) -> Path:
    """Where a result lies while it is made."""
    place = Path(os.path.realpath(out))
    return place.with_name(place.name + UNFINISHED)


def _replaced(out: Path) -> Path:
    """Where an earlier result lies while another takes its place."""
    place = Path(os.path.realpath(out))
    return place.with_name(f".{place.name}.replaced")


def check_branches_target(out: str | os.PathLike) -> Path:
    """Refuse a folder that cannot take a folder per branch as they are made; what is
    there already is left alone.

    Raises:
      UserError: `out` is a file, is not empty, or cannot be made.
    """
    out = Path(out)
    with refusing_os_errors(f"folder {str(out)!r} cannot be written"):
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"folder {str(out)!r} is not empty: choose a new folder")
        _check_place(out)
    return out


def check_place(out: str | os.PathLike) -> Path:
    """Refuse a file, or a folder that cannot be made or takes no file.

    Raises:
      UserError: says which of these.
    """
    with refusing_os_errors(f"folder {str(out)!r} cannot be written"):
        _check_place(Path(out))
    return Path(out)


def _check_place(out: Path) -> None:
    if not out.is_dir() and (out.exists() or out.is_symlink()):
        raise UserError(f"{str(out)!r} exists and is not a folder")
    ancestor = out.absolute().parent
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK | os.X_OK):
        raise UserError(f"folder {str(out)!r} cannot be made in {str(ancestor)!r}")
    with tempfile.TemporaryFile(dir=out if out.is_dir() else ancestor) as probe:
        probe.write(bytes(_PROBE))  # a full disk, or a quota
        os.fsync(probe.fileno())


class GrowingResult:
    """A result whose pictures are written as soon as they are made.

    Attributes:
      place: the folder that it takes in the end.
      folder: where it lies until then.
    """

    def __init__(self, out: str | os.PathLike, last: int):
        """
        Args:
          last: number of the last turn, for the names.

        Raises:
          UserError: see `check_target`, or the disk refuses.
        """
        self.place = check_target(out).resolve()
        self.folder = unfinished(self.place)
        self._last = last
        with self._writing():
            _remove(self.folder)  # of a run that was stopped
            self.folder.mkdir(parents=True)
        self._belongings = Belongings(self.folder, _ADVICE)

    def add(self, turn: Turn) -> None:
        """Write a turn's pictures.

        Raises:
          UserError: the disk refuses; what was written before stays.
        """
        with self._writing():
            _write_turn(self._belongings.writing, turn, self._last)

    def finish(self, session: EditSession, extra: Mapping[str, Any]) -> Path:
        """Write what is of all turns, and take the place.

        Args:
          extra: JSON values that `session.json` holds beside the session's record.

        Raises:
          UserError: the disk refuses; an earlier result is still there.
        """
        with self._writing():
            _write_whole(self._belongings.writing, session, extra)
            check_target(self.place)  # what came there meanwhile
            _swap(self.folder, self.place)
        return self.place

    def _writing(self) -> AbstractContextManager[None]:
        return refusing_os_errors(
            f"folder {str(self.place)!r} cannot be written; what was made is in "
            f"{self.folder.name!r}, beside it"
        )


def write_result(
    out: str | os.PathLike, session: EditSession, extra: Mapping[str, Any]
) -> Path:
    """Write all turns of a session, see `GrowingResult`.

    Raises:
      UserError: see `check_target`, or the disk refuses.
    """
    growing = GrowingResult(out, session.turn)
    for turn in session.history:
        growing.add(turn)
    return growing.finish(session, extra)


def describe_image(path: str | os.PathLike) -> dict[str, Any]:
    """Where an image was, and which one it was."""
    data = Path(path).read_bytes()
    return {"path": os.fspath(path), "sha256": files.sha256(data)}


def _swap(new: Path, place: Path) -> None:
    """Move `new` to its place; what stood there is removed, or stays on failure."""
    old = _replaced(place)
    _remove(old)
    replaces = place.exists()
    if replaces:
        place.rename(old)
    try:
        new.rename(place)
    except OSError:
        if replaces:
            old.rename(place)
        raise
    _remove(old)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def turn_name(number: int, last: int = 0) -> str:
    """A turn's file name; names sort up to the turn `last`."""
    return f"turn_{number:0{max(2, len(str(last)))}d}.png"


def fill_folder(folder: Path, session: EditSession, extra: Mapping[str, Any]) -> None:
    """Write all files of a result into a folder."""

    def writing(name: str) -> AbstractContextManager[Path]:
        return files.appearing(folder / name)

    for turn in session.history:
        _write_turn(writing, turn, session.turn)
    _write_whole(writing, session, extra)


def write_turn(folder: Path, turn: Turn) -> Path:
    """Write the picture of a turn alone into the folder of a result that is begun.

    Raises:
      UserError: the file of its name is not of a result.
    """
    with Belongings(folder, _ADVICE).writing(turn_name(turn.number)) as path:
        turn.image.save(path, format="png")
    return folder / turn_name(turn.number)


def _write_turn(writing: Writing, turn: Turn, last: int) -> None:
    name = turn_name(turn.number, last)
    with writing(name) as path:
        turn.image.save(path, format="png")
    with writing(f"model_size/{name}") as path:
        turn.model_image.save(path, format="png")


def _write_whole(
    writing: Writing, session: EditSession, extra: Mapping[str, Any]
) -> None:
    frames = [turn.pixels for turn in session.history]
    captions = [turn.caption for turn in session.history]
    with writing("contact_sheet.png") as path:
        draw_contact_sheet(frames, captions).save(path, format="png")
    record = {**session.record(), **extra, "jax": jax.__version__}
    with writing("session.json") as path:
        files.write_json(path, record, indent=2)
    with writing(session_file.NAME) as path:
        session.save(path)
