"""One part of a source as records, with what was kept of it and why not the rest."""

import collections
import contextlib
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from anchoredit_jax import files
from anchoredit_jax.data.images import decode_image
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.likeness import look_of
from anchoredit_jax.data.prepared.filters import Filters, judge
from anchoredit_jax.data.prepared.reader import (
    CHECKS,
    COLUMNS,
    RECORDS,
    check_of,
)
from anchoredit_jax.data.record_files import write_records
from anchoredit_jax.data.seals import check_files, check_sealed, list_files, sealed
from anchoredit_jax.data.sessions import (
    IGNORED,
    Dropped,
    Part,
    RawSession,
    TablePart,
    printable,
    read_part,
)
from anchoredit_jax.data.strips import draw_strip, stack_strips
from anchoredit_jax.errors import UserError

REPORT = "report.json"
AGAIN = "run the same launch/prepare_data.py again"
LEFT_OUT, PICTURES = "left_out", 3  # folder of pictures, and how many of a reason
MAX_TURNS = 255  # of the column of turns
_TEXT = tfds.features.Text()
FEATURES = {
    "key": _TEXT,
    "images": tfds.features.Sequence(_TEXT),  # the files as they were
    "languages": tfds.features.Sequence(_TEXT),
    # All turns of the first language, then those of the next.
    "instructions": tfds.features.Sequence(_TEXT),
    "turns": np.int64,
}
Bad = tuple[str, str, str, str]  # origin, key, reason, detail


def is_done(folder: Path) -> bool:
    """Tell whether a part is whole; what could not be read may be readable now."""
    if not (folder / REPORT).is_file():
        return False
    try:
        report = read_report(folder)
        check_files(folder, report["files"], AGAIN)
    except UserError:
        return False
    return all(reason != "unreadable" for _, _, reason, _ in report["bad"])


def prepare_part(
    part: Part | TablePart,
    folder: Path,
    languages: Sequence[str],
    filters: Filters,
) -> Path:
    """Write one part and its report, the report last; returns its folder."""
    tfds.disable_progress_bar()  # parts have one of their own
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
    columns: dict[str, list[int]] = {name: [] for name in COLUMNS}
    keys: list[int] = []
    checks: list[int] = []
    bad: list[Bad] = []
    ignored: list[str] = []
    notes: list[str] = []
    seen: collections.Counter[str] = collections.Counter()
    gaps = 0
    looks: list[tuple[int, tuple[int, int, int]]] = []
    pictures = _Pictures()
    sha = hashlib.sha256()

    def records() -> Iterator[dict[str, Any]]:
        nonlocal gaps
        for found in read_part(part, languages):
            session = _wanted(found, filters)
            if isinstance(session, Dropped) and isinstance(found, RawSession):
                pictures.add(found, session)
            if isinstance(session, Dropped) and session.reason == IGNORED:
                ignored.append(session.key)
                continue
            if isinstance(session, Dropped):
                bad.append(
                    (session.origin, session.key, session.reason, session.detail)
                )
                continue
            if filters.near != "keep":
                ends = session.images[0], session.images[-1]
                looks.extend(map(_look, ends))
            turns = len(session.images) - 1
            height, width = session.sizes[0]
            for name, value in zip(COLUMNS, (turns, height, width), strict=True):
                columns[name].append(value)
            keys.append(key_of(session.key))
            checks.append(check_of(session.key, session.images, session.instructions))
            seen.update(list(session.instructions))
            gaps += session.gaps
            notes.extend(f"{session.origin}: {note}" for note in session.notes)
            _digest(sha, session)
            yield {
                "key": session.key,
                "images": list(session.images),
                "languages": list(session.instructions),
                "instructions": [
                    text for texts in session.instructions.values() for text in texts
                ],
                "turns": turns,
            }

    made = records()
    first = next(made, None)
    if first is not None:  # TFDS writes no empty datasets
        with _unannounced():
            write_records(
                folder,
                ("sessions", "part"),
                {"1.0.0": "First release."},
                FEATURES,
                chain([first], made),
                "Editing sessions of images and instructions.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, dtype in COLUMNS.items():
        np.save(folder / f"{name}.npy", np.array(columns[name], dtype))
    np.save(folder / f"{CHECKS}.npy", np.array(checks, np.uint32))
    np.save(folder / "keys.npy", np.array(keys, np.uint64))
    if filters.near != "keep":
        hashes = np.array([look for look, _ in looks], np.uint64)
        tints = np.array([tint for _, tint in looks], np.uint8)
        np.save(folder / "looks.npy", hashes.reshape(-1, 2))
        np.save(folder / "tints.npy", tints.reshape(-1, 2, 3))
    pictures.write(folder)
    made = (path for path in folder.rglob("*") if path.is_file())
    report = {
        "origin": printable(part.origin),
        "kept": len(columns["turns"]),
        "bad": bad,
        "ignored": ignored,
        "notes": notes,
        "gaps": gaps,
        "languages": dict(seen),
        "digest": sha.hexdigest(),
        "files": list_files(folder, made, RECORDS),
    }
    files.write_json(folder / REPORT, sealed(report))
    return folder


@contextlib.contextmanager
def _unannounced() -> Iterator[None]:
    """TFDS announces every dataset that it makes; a part is none to a person."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _wanted(session: RawSession | Dropped, filters: Filters) -> RawSession | Dropped:
    if isinstance(session, Dropped):
        return session
    if len(session.images) - 1 > MAX_TURNS:
        detail = f"{len(session.images) - 1} turns, at most {MAX_TURNS} are stored"
        return Dropped(session.key, session.origin, "too large", detail)
    return judge(session, filters)


class _Pictures:
    """The first few sessions of every reason that a filter has."""

    def __init__(self):
        self._strips: dict[str, list[Image.Image]] = {}

    def add(self, session: RawSession, why: Dropped) -> None:
        strips = self._strips.setdefault(why.reason, [])
        if len(strips) < PICTURES:
            label = f"{session.key}: {why.detail}"
            strips.append(draw_strip(session.images, label))

    def write(self, folder: Path) -> None:
        for reason, strips in self._strips.items():
            path = folder / LEFT_OUT / f"{reason}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(stack_strips(strips))


def _look(data: bytes) -> tuple[int, tuple[int, int, int]]:
    return look_of(decode_image(data, tell=lambda _: None))


def _digest(sha: Any, session: RawSession) -> None:
    for data in (session.key.encode(), *session.images):
        sha.update(len(data).to_bytes(8, "little") + data)
    sha.update(json.dumps(dict(session.instructions), sort_keys=True).encode())


def read_report(folder: Path) -> dict[str, Any]:
    """What `prepare_part` told of a part.

    Raises:
      UserError: it is damaged.
    """
    path = folder / REPORT
    report = files.read_json(path, AGAIN)
    check_sealed(report, path, AGAIN)
    return report
