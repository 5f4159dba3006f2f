"""Raw sessions to a prepared dataset: in parts, each done by one process or not at all.

A part that is there is kept, so an interrupted preparation goes on where it stopped.
Every session that is not kept is in the report, with its name and the reason.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from anchoredit_jax import files
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.prepared.reader import COLUMNS, FORMAT
from anchoredit_jax.data.record_files import write_records
from anchoredit_jax.data.sessions import (
    Dropped,
    Part,
    RawSession,
    list_parts,
    read_part,
)
from anchoredit_jax.errors import UserError

CLAIM = "source.json"
REPORT = "report.json"
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


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the raw sessions.

    Attributes:
      kept: sessions in the dataset.
      dropped: reason -> how many.
      bad: every dropped one.
      turns: turns -> sessions.
      sizes: "height x width" of the source images -> sessions.
      languages: language -> sessions that have it.
    """

    kept: int
    dropped: Mapping[str, int]
    bad: Sequence[Bad]
    turns: Mapping[int, int]
    sizes: Mapping[str, int]
    languages: Mapping[str, int]

    def describe(self) -> str:
        lines = [f"sessions kept: {self.kept}"]
        for name, counts in (
            ("dropped", self.dropped),
            ("turns", self.turns),
            ("languages", self.languages),
        ):
            told = ", ".join(f"{key}: {count}" for key, count in sorted(counts.items()))
            lines.append(f"{name}: {told or 'none'}")
        lines += [
            f"  {origin}: {key}: {reason}: {detail}"
            for origin, key, reason, detail in self.bad[:20]
        ]
        if len(self.bad) > 20:
            lines.append(f"  and {len(self.bad) - 20} more, in report.json")
        return "\n".join(lines)


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    languages: Sequence[str] = ("en",),
    processes: int = 1,
    max_bad: int = 1000,
    progress: Callable[[int, int], None] = lambda done, parts: None,
) -> Report:
    """Write a dataset of the sessions of `source`, for `PreparedSessions`.

    Args:
      source: what `list_parts` takes: shards, or folders.
      out: folder; what is there already of the same source is kept.
      languages: texts to keep; a session needs all turns of at least one.
      max_bad: with more bad records than this the preparation stops.
      progress: called with the number of parts done, and of all.

    Raises:
      UserError: no source, an `out` of another source, too many bad records, or not one
        session that can be used.
    """
    out, parts = Path(out), list_parts(source)
    asked = {"source": str(source), "languages": list(languages), "parts": len(parts)}
    if out.is_dir() and not (out / CLAIM).is_file() and any(out.iterdir()):
        raise UserError(f"{str(out)!r} is not empty: give a new folder as --out")
    files.claim(out, CLAIM, asked, "use another --out")
    folders = [out / "parts" / f"{number:06d}" for number in range(len(parts))]
    bad: list[list[str]] = []
    made = _run_parts(parts, folders, languages, processes)
    for done, folder in enumerate(made, 1):
        bad += _part_report(folder)["bad"]
        if len(bad) > max_bad:
            raise UserError(
                f"{len(bad)} bad records are more than --max-bad {max_bad}; the last "
                f"one: {': '.join(bad[-1])}. Parts that are done stay: mend the "
                "source, or allow more, and run again"
            )
        progress(done, len(parts))
    return _finish(out, folders)


def _run_parts(
    parts: Sequence[Part],
    folders: Sequence[Path],
    languages: Sequence[str],
    processes: int,
) -> Iterator[Path]:
    """The folders of all parts, each when it is done; first those that were."""
    done = {folder for folder in folders if (folder / REPORT).is_file()}
    todo = [pair for pair in zip(parts, folders, strict=True) if pair[1] not in done]
    yield from sorted(done)
    if processes <= 1 or not todo:
        for part, folder in todo:
            yield prepare_part(part, folder, languages)
        return
    context = multiprocessing.get_context("spawn")  # forks of JAX's threads hang
    with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
        yield from pool.map(prepare_part, *zip(*todo, strict=True), repeat(languages))


def prepare_part(part: Part, folder: Path, languages: Sequence[str]) -> Path:
    """Write one part and its report, the report last; returns its folder."""
    tfds.disable_progress_bar()  # parts have one of their own
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
    columns: dict[str, list[int]] = {name: [] for name in COLUMNS}
    keys: list[int] = []
    bad: list[Bad] = []
    seen: collections.Counter[str] = collections.Counter()
    sha = hashlib.sha256()

    def records() -> Iterator[dict[str, Any]]:
        for session in read_part(part, languages):
            session = _storable(session)
            if isinstance(session, Dropped):
                bad.append(
                    (session.origin, session.key, session.reason, session.detail)
                )
                continue
            turns = len(session.images) - 1
            height, width = session.sizes[0]
            for name, value in zip(COLUMNS, (turns, height, width), strict=True):
                columns[name].append(value)
            keys.append(key_of(session.key))
            seen.update(list(session.instructions))
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
    np.save(folder / "keys.npy", np.array(keys, np.uint64))
    files.write_json(
        folder / REPORT,
        {
            "kept": len(columns["turns"]),
            "bad": bad,
            "languages": dict(seen),
            "digest": sha.hexdigest(),
        },
    )
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


def _storable(session: RawSession | Dropped) -> RawSession | Dropped:
    if isinstance(session, RawSession) and len(session.images) - 1 > MAX_TURNS:
        detail = f"{len(session.images) - 1} turns, at most {MAX_TURNS} are stored"
        return Dropped(session.key, session.origin, "too large", detail)
    return session


def _digest(sha: Any, session: RawSession) -> None:
    for data in (session.key.encode(), *session.images):
        sha.update(len(data).to_bytes(8, "little") + data)
    sha.update(json.dumps(dict(session.instructions), sort_keys=True).encode())


def _part_report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / REPORT).read_text(encoding="utf-8"))


def _finish(out: Path, folders: Sequence[Path]) -> Report:
    """Columns of all parts, the report, and `dataset.json`, which says it is done."""
    reports = {folder: _part_report(folder) for folder in folders}
    kept = [folder for folder in folders if reports[folder]["kept"]]
    columns = {
        column: np.concatenate(
            [np.load(folder / f"{column}.npy") for folder in kept]
            or [np.zeros(0, dtype)]
        )
        for column, dtype in COLUMNS.items()
    }
    languages: collections.Counter[str] = collections.Counter()
    for part in reports.values():
        languages.update(part["languages"])
    bad = [tuple(entry) for part in reports.values() for entry in part["bad"]]
    bad += _leave_out_duplicates(kept, columns)
    sizes = zip(columns["height"].tolist(), columns["width"].tolist(), strict=True)
    report = Report(
        kept=int(np.count_nonzero(columns["turns"])),
        dropped=dict(collections.Counter(entry[2] for entry in bad)),
        bad=bad,
        turns=dict(collections.Counter(t for t in columns["turns"].tolist() if t)),
        sizes=dict(collections.Counter(f"{h} x {w}" for h, w in sizes)),
        languages=dict(languages),
    )
    files.write_json(out / REPORT, dataclasses.asdict(report))
    if not kept:
        raise UserError(
            f"not one session of {str(out)!r} can be used; why: "
            + ", ".join(f"{n} x {reason}" for reason, n in report.dropped.items())
        )
    for column, values in columns.items():
        np.save(out / f"{column}.npy", values)
    digests = (reports[folder]["digest"].encode() for folder in kept)
    files.write_json(
        out / "dataset.json",
        {
            "format": FORMAT,
            "parts": [folder.name for folder in kept],
            "sessions": [reports[folder]["kept"] for folder in kept],
            "languages": sorted(languages),
            "fingerprint": files.sha256(*digests, digits=16),
        },
    )
    return report


def _leave_out_duplicates(
    kept: Sequence[Path], columns: Mapping[str, np.ndarray]
) -> list[Bad]:
    """Sessions whose name an earlier part has too keep their place, with 0 turns: no
    plan takes them."""
    keys = [np.load(folder / "keys.npy") for folder in kept]
    joined = np.concatenate(keys or [np.zeros(0, np.uint64)])
    again = np.ones(len(joined), bool)
    again[np.unique(joined, return_index=True)[1]] = False
    columns["turns"][again] = 0
    part_of = np.repeat(np.arange(len(kept)), [len(part) for part in keys])
    return [
        (
            f"part {kept[part_of[index]].name}",
            f"number {index}",
            "duplicate",
            "an earlier part has a session of the same name",
        )
        for index in np.flatnonzero(again)
    ]
