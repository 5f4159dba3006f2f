"""What the page shows of someone's branches, as pictures, texts and files.

Nothing here knows of the page's library or keeps anything: all is computed from the
branches that are given.
"""

import os
import shutil
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from anchoredit_jax.data.images import Crop, Source, identify, resize
from anchoredit_jax.errors import UserError
from anchoredit_jax.session import session_file
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.contact_sheet import to_sheet_size
from anchoredit_jax.session.edit_session import EditSession
from anchoredit_jax.session.editor import Editor
from anchoredit_jax.session.result_folder import fill_folder
from anchoredit_jax.session.turns import Turn

KEPT = 3600  # seconds that what a page made is kept for a user who does nothing
LARGEST = 1 << 31  # bytes of a session file in a zip file
MOST_PIXELS = 24_000_000  # of an image; every turn is made as large as it
MOST_TURNS = 200  # that one person keeps, in all branches together
MOST_BRANCHES = 20
LARGEST_SHOWN = 2048  # pixels of the longer side of what the page shows
HOTTEST = 128  # mean difference, of 255, that has the heat map's brightest colour
_COLOURS = "inferno"


class View(NamedTuple):
    """What the page shows.

    Attributes:
      strip: every turn, undone ones too, small, with its caption.
      selected: number of the current turn.
      source, result: uint8 [H, W, 3], the source and the current turn; at most
        `LARGEST_SHOWN` pixels wide and high.
      difference: uint8 [H, W, 3], where they differ.
      drift: the difference from the source over the turns.
      status: a line on where one is.
      names, current: all branches, and which one this is.
    """

    strip: list[tuple[np.ndarray, str]]
    selected: int
    source: np.ndarray
    result: np.ndarray
    difference: np.ndarray
    drift: Figure
    status: str
    names: tuple[str, ...]
    current: str


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


def check_room(branches: Branches, turn: bool = True) -> None:
    """Refuse one more turn, or branch, than one person may keep.

    Raises:
      UserError: says how many that is, and what to do.
    """
    sessions = [session for _, session in branches]
    kept = {id(made) for session in sessions for made in session.turns[1:]}
    advice = "make a zip file, and open that to go on with its branch alone"
    if turn and len(kept) >= MOST_TURNS:
        raise UserError(f"the page keeps at most {MOST_TURNS} turns: {advice}")
    if not turn and len(sessions) >= MOST_BRANCHES:
        raise UserError(f"the page keeps at most {MOST_BRANCHES} branches: {advice}")


def open_image(editor: Editor, image: Source | None, seed: float = 0) -> Branches:
    """Branches of a new session.

    Args:
      seed: whole; a page's number fields give floats.

    Raises:
      UserError: no image, one that cannot be edited, or a wrong seed.
    """
    if image is None:
        raise UserError("choose an image first")
    if isinstance(image, str | os.PathLike) and os.path.isfile(image):
        name = repr(os.path.basename(image))
        with identify(Path(image), os.path.getsize(image), name) as opened:
            _check_pixels(opened.height, opened.width)
    if not isinstance(seed, int | float) or not float(seed).is_integer():
        raise UserError(f"a seed must be a whole number, given {seed!r}")
    return Branches(editor.start(image, int(seed)))


def view(branches: Branches) -> View:
    """Collect what the page shows."""
    session = branches.session
    source, current = session.history[0], session.history[-1]
    return View(
        strip=strip(session),
        selected=session.turn,
        source=_as_shown(source.pixels, session.crop),
        result=_as_shown(current.pixels, session.crop),
        difference=_as_shown(heat_map(source.pixels, current.pixels), session.crop),
        drift=plot_drift(session),
        status=describe(branches),
        names=branches.names,
        current=branches.current,
    )


def _as_shown(pixels: np.ndarray, crop: Crop) -> np.ndarray:
    """The model's image at the size of the crop in the source, or smaller where that is
    larger than `LARGEST_SHOWN`."""
    height, width = crop.box_size
    scale = min(1.0, LARGEST_SHOWN / max(height, width))
    return resize(pixels, (max(1, round(scale * height)), max(1, round(scale * width))))


def strip(session: EditSession) -> list[tuple[np.ndarray, str]]:
    """(uint8 [h, w, 3], caption) of every turn, those that were undone too."""
    return [
        (
            to_sheet_size(turn.pixels),
            turn.caption + (" (undone)" if turn.number > session.turn else ""),
        )
        for turn in session.turns
    ]


def heat_map(source: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Where two images uint8 [H, W, 3] differ, in colours of a fixed scale: black is
    equal, the brightest is a mean difference of `HOTTEST` and more."""
    apart = np.abs(source.astype(np.float32) - image).mean(-1) / HOTTEST
    colours = matplotlib.colormaps[_COLOURS](np.minimum(apart, 1.0))
    colours[apart == 0, :3] = 0.0
    return np.round(255 * colours[..., :3]).astype(np.uint8)


def drift(turns: tuple[Turn, ...]) -> list[float]:
    """Mean absolute difference from the source, of 255, turn by turn; the source's own
    0 comes first."""
    source = turns[0].pixels.astype(np.float32)
    return [float(np.abs(turn.pixels - source).mean()) for turn in turns]


def plot_drift(session: EditSession) -> Figure:
    """`drift` of the history as a curve."""
    values = drift(session.history)
    figure = Figure(figsize=(5, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.plot(range(len(values)), values, marker="o", color="#0072b2")
    axis.set_xlabel("turn")
    axis.set_ylabel("difference (0-255)")
    axis.set_ylim(0, max(1.0, 1.1 * max(values)))
    axis.set_xticks(range(0, len(values), 1 + len(values) // 12))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def describe(branches: Branches) -> str:
    """Which branch and turn is worked on, and where the image lies in the source."""
    session = branches.session
    turn = session.history[-1]
    undone = len(session.turns) - len(session.history)
    parts = [
        f"branch {branches.current}",
        f"turn {turn.number}" if turn.number else "the source",
        session.crop.describe(),
    ]
    if undone:
        parts.insert(2, f"{undone} undone, replaced by the next edit unless you branch")
    return "; ".join(parts)


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
