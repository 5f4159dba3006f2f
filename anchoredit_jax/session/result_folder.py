"""A session's results as a folder of pictures; it appears whole or not at all.

turn_00.png .. turn_NN.png    the source as the model sees it, then every turn, all
                              at the size of the crop in the source
model_size/turn_NN.png        the same at the size that it was edited at
contact_sheet.png             all turns with their instructions
session.json                  all that is needed to repeat the session
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.session.contact_sheet import draw_contact_sheet
from anchoredit_jax.session.edit_session import EditSession
from anchoredit_jax.session.turns import Turn

_OURS = re.compile(r"turn_\d+\.png|contact_sheet\.png|session\.json|model_size")


def check_target(out: str | os.PathLike) -> Path:
    """Refuse, before any work is done, a folder that cannot be written in the end.

    An earlier result there will be replaced; a folder that holds anything else is left
    alone.

    Raises:
      UserError: `out` is a file, holds other files, or cannot be made.
    """
    out = Path(out)
    if out.is_dir():
        others = sorted(p.name for p in out.iterdir() if not _OURS.fullmatch(p.name))
        if others:
            raise UserError(
                f"folder {str(out)!r} holds other files ({others[0]!r}): choose a new "
                "folder for the result"
            )
    _check_place(out)
    return out


def check_branches_target(out: str | os.PathLike) -> Path:
    """Refuse a folder that cannot take a folder per branch as they are made; what is
    there already is left alone.

    Raises:
      UserError: `out` is a file, is not empty, or cannot be made.
    """
    out = Path(out)
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"folder {str(out)!r} is not empty: choose a new folder")
    _check_place(out)
    return out


def _check_place(out: Path) -> None:
    """Refuse a file, or a folder that cannot be made."""
    if not out.is_dir() and (out.exists() or out.is_symlink()):
        raise UserError(f"{str(out)!r} exists and is not a folder")
    ancestor = out.absolute().parent
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK | os.X_OK):
        raise UserError(f"folder {str(out)!r} cannot be made in {str(ancestor)!r}")


def write_result(
    out: str | os.PathLike, session: EditSession, extra: Mapping[str, Any]
) -> Path:
    """Write the folder beside its place, then move it there.

    Args:
      extra: JSON values that `session.json` holds beside the session's record.

    Raises:
      UserError: see `check_target`, or the disk refuses.
    """
    out = check_target(out).resolve()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{out.name}.", dir=out.parent, ignore_cleanup_errors=True
        ) as scratch:
            made = Path(scratch) / "new"
            fill_folder(made, session, extra)
            _swap(made, out, Path(scratch) / "old")
    except OSError as error:
        raise UserError(f"folder {str(out)!r} cannot be written: {error}") from error
    return out


def describe_image(path: str | os.PathLike) -> dict[str, Any]:
    """Where an image was, and which one it was."""
    data = Path(path).read_bytes()
    return {"path": os.fspath(path), "sha256": files.sha256(data)}


def _swap(new: Path, place: Path, old: Path) -> None:
    """Move `new` to its place; what stood there goes to `old`, or stays on failure."""
    replaces = place.exists()
    if replaces:
        place.rename(old)
    try:
        new.rename(place)
    except OSError:
        if replaces:
            old.rename(place)
        raise


def turn_name(number: int, last: int = 0) -> str:
    """A turn's file name; names sort up to the turn `last`."""
    return f"turn_{number:0{max(2, len(str(last)))}d}.png"


def caption(turn: Turn) -> str:
    """A turn in a few words."""
    instruction = (turn.instruction or "").strip() or "(no instruction)"
    return f"{turn.number}. {instruction}" if turn.number else "source"


def fill_folder(folder: Path, session: EditSession, extra: Mapping[str, Any]) -> None:
    """Write all files of a result into a folder that does not exist yet."""
    (folder / "model_size").mkdir(parents=True)
    for turn in session.history:
        name = turn_name(turn.number, session.turn)
        turn.image.save(folder / name)
        turn.model_image.save(folder / "model_size" / name)
    frames = [turn.pixels for turn in session.history]
    captions = [caption(turn) for turn in session.history]
    draw_contact_sheet(frames, captions).save(folder / "contact_sheet.png")
    record = {**session.record(), **extra, "jax": jax.__version__}
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / "session.json").write_text(text, encoding="utf-8")
