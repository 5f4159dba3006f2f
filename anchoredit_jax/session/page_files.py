"""What a page opens and what it gives back: images, saved sessions, zip files.

A stranger may send anything; what is larger than a page takes is refused by a line.
"""

import os
import shutil
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

from anchoredit_jax.data.images import Source, identify
from anchoredit_jax.errors import UserError
from anchoredit_jax.session import session_file
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.edit_session import EditSession
from anchoredit_jax.session.editor import Editor
from anchoredit_jax.session.result_folder import fill_folder

KEPT = 3600  # seconds that what a page made is kept for a user who does nothing
LARGEST = 1 << 31  # bytes of a session file in a zip file
MOST_PIXELS = 24_000_000  # of an image; every turn is made as large as it
MOST_TURNS = 200  # that one person keeps, in all branches together
MOST_BRANCHES = 20


def open_file(
    editor: Editor,
    path: str | os.PathLike | None,
    seed: float = 0,
    scratch: Path | None = None,
) -> Branches:
    """Branches of a new session on an image, or of a saved one: a session file, or a
    zip file of `make_zip`.

    Args:
      scratch: folder that the file in a zip file is unpacked into; None: the system's.

    Raises:
      UserError: no such image or session, one that is larger than a page takes, or a
        wrong seed.
    """
    if path is not None and not isinstance(path, str | os.PathLike):
        raise UserError(f"a file has a path, given a {type(path).__name__}")
    suffix = "" if path is None else Path(path).suffix.lower()
    if suffix in (".safetensors", ".session", ".json"):
        return Branches(_load(path, editor))
    if suffix != ".zip":
        return open_image(editor, path, seed)
    with tempfile.TemporaryDirectory(dir=scratch) as made:
        try:
            with zipfile.ZipFile(path) as archive:
                size = archive.getinfo(session_file.NAME).file_size
                if size > LARGEST:
                    raise UserError(f"a session file of {size} bytes is not opened")
                inside = archive.extract(session_file.NAME, made)
        except (OSError, LookupError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(
                f"{os.path.basename(path)!r} is not a zip file of a session: {error}"
            ) from error
        except (NotImplementedError, RuntimeError) as error:  # a method, a password
            raise UserError(f"the zip file cannot be read: {error}") from error
        return Branches(_load(inside, editor))


def _load(path: str | os.PathLike, editor: Editor) -> EditSession:
    record = session_file.read(path).record  # refused before a turn is computed
    _check_pixels(*record.crop.source)
    if len(record.turns) > MOST_TURNS:
        raise UserError(
            f"a session of {len(record.turns)} turns: the page keeps at most "
            f"{MOST_TURNS}; go on with launch/edit.py --session"
        )
    return EditSession.load(path, editor)


def _check_pixels(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise UserError(
            f"image of {width} x {height} pixels: the page takes at most "
            f"{MOST_PIXELS:,}; shrink it, or use launch/edit.py"
        )


def check_room(branches: Branches, turns: int = 1, new_branch: bool = False) -> None:
    """Refuse more turns, or another branch, than one person may keep.

    Raises:
      UserError: says how many that is, and what to do.
    """
    sessions = [session for _, session in branches]
    kept = {id(made) for session in sessions for made in session.turns[1:]}
    advice = "make a zip file, and open that to go on with its branch alone"
    if turns and len(kept) + turns > MOST_TURNS:
        raise UserError(f"the page keeps at most {MOST_TURNS} turns: {advice}")
    if new_branch and len(sessions) >= MOST_BRANCHES:
        raise UserError(f"the page keeps at most {MOST_BRANCHES} branches: {advice}")


def open_image(editor: Editor, image: Source | None, seed: float = 0) -> Branches:
    """Branches of a new session.

    Raises:
      UserError: no image, one that cannot be edited, or a wrong seed.
    """
    if image is None:
        raise UserError("choose an image first")
    if isinstance(image, str | os.PathLike) and os.path.isfile(image):
        name = repr(os.path.basename(image))
        with identify(Path(image), os.path.getsize(image), name) as opened:
            _check_pixels(opened.height, opened.width)
    return Branches(editor.start(image, read_whole("a seed", seed)))


def read_whole(what: str, number: float) -> int:
    """A whole number of a page's number field, which gives floats too.

    Raises:
      UserError: it is not whole.
    """
    if not isinstance(number, int | float) or not float(number).is_integer():
        raise UserError(f"{what} must be a whole number, given {number!r}")
    return int(number)


def make_zip(branches: Branches, folder: Path) -> Path:
    """A zip file of the current branch: a PNG per turn, contact sheet, session.json and
    session.safetensors.

    Args:
      folder: that a folder of its own is made in, for a name that is easily told; those
        older than `KEPT` are removed from it.

    Raises:
      UserError: the disk refuses.
    """
    session = branches.session
    try:
        for old in folder.iterdir():
            if time.time() - old.stat().st_mtime > KEPT:
                shutil.rmtree(old)
        made = Path(tempfile.mkdtemp(dir=folder))
        with tempfile.TemporaryDirectory(dir=made) as scratch:
            files = Path(scratch) / "session"
            fill_folder(files, session, {"branch": branches.current})
            name = made / f"anchoredit_{branches.current}_{session.turn}_turns"
            return Path(shutil.make_archive(str(name), "zip", files))
    except OSError as error:
        raise UserError(f"the zip file cannot be written: {error}") from error
