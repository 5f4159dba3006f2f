"""Raw sessions to a prepared dataset: in parts, each done by one process or not at all.

A part is named by the files it is made of (names, sizes, times) and is kept while these
are as they were and its own are whole: an interrupted preparation goes on where it
stopped, and a source that changed is read again where it did. Every session that is not
kept is in the report, with its name and the reason.
"""

import collections
import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from anchoredit_jax import files
from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.prepared.reader import (
    ABOUT,
    CHECKS,
    COLUMNS,
    FORMAT,
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
    fingerprint_part,
    is_fingerprint,
    list_parts,
    printable,
    read_part,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.in_use import in_use
from anchoredit_jax.models.text import NgramTextEncoder
from anchoredit_jax.orphans import end_with_parent

CLAIM = "source.json"
REPORT = "report.json"
AGAIN = "run the same launch/prepare_data.py again"
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

_SHOWN = 3  # lines of a kind
Bad = tuple[str, str, str, str]  # origin, key, reason, detail


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the raw sessions.

    Attributes:
      kept: sessions in the dataset.
      dropped: reason -> how many.
      bad: every dropped one.
      ignored: hidden and system files, and others that are of no session.
      notes: lines on what was kept though it is not as it should be.
      path: of the report, which has all of it.
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
    ignored: Sequence[str] = ()
    notes: Sequence[str] = ()
    path: str = dataclasses.field(default=REPORT, compare=False)

    def describe(self) -> str:
        """A few lines: every count, with the first of what it counts."""
        lines = [f"sessions kept: {self.kept}"]
        for name, counts in (("turns", self.turns), ("languages", self.languages)):
            told = ", ".join(f"{key}: {count}" for key, count in sorted(counts.items()))
            lines.append(f"{name}: {told or 'none'}")
        lines.append(f"dropped: {len(self.bad) or 'none'}")
        for reason, count in sorted(self.dropped.items()):
            some = [entry for entry in self.bad if entry[2] == reason]
            lines.append(f"  {reason}: {count}")
            lines += _first([": ".join(entry) for entry in some])
        if self.notes:
            lines.append(f"kept, but: {len(self.notes)}")
            lines += _first(self.notes)
        if self.ignored:
            some = ", ".join(self.ignored[:_SHOWN])
            more = ", .." if len(self.ignored) > _SHOWN else ""
            lines.append(f"files of no session: {len(self.ignored)} ({some}{more})")
        lines.append(f"all of it in {self.path}")
        return "\n".join(lines)


def _first(lines: Sequence[str]) -> list[str]:
    """A few lines of many."""
    more = len(lines) - _SHOWN
    told = [f"    {line}" for line in lines[:_SHOWN]]
    return [*told, f"    and {more} more"] if more > 0 else told


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    languages: Sequence[str] = ("en",),
    processes: int = 1,
    max_bad: int = 1000,
    links: str = "follow",
    words: int | None = None,
    progress: Callable[[int, int], None] = lambda done, parts: None,
) -> Report:
    """Write a dataset of the sessions of `source`, for `PreparedSessions`.

    Args:
      source: what `list_parts` takes: shards, or folders.
      out: folder; what is there already of the same files of the source is kept, what
        is there of others is removed when all is done.
      languages: texts to keep; a session needs all turns of at least one.
      max_bad: with more bad records than this the preparation stops.
      links: what to do with symbolic links in folders: "follow" or "refuse".
      words: at most in an instruction, as the n-gram encoder counts; None: any number.
      progress: called with the number of parts done, and of all.

    Raises:
      UserError: no source, an `out` of another source, too many bad records, or not one
        session that can be used.
    """
    out, parts = Path(out), list_parts(source, links=links)
    files.check_plain(out, "prepared sessions")
    with in_use(out):
        return _prepare(
            source, out, parts, languages, processes, max_bad, progress, words
        )


def _prepare(
    source: str | Path,
    out: Path,
    parts: Sequence[Part],
    languages: Sequence[str],
    processes: int,
    max_bad: int,
    progress: Callable[[int, int], None],
    words: int | None,
) -> Report:
    """`prepare` in a folder that nobody else writes into."""
    asked = {"source": printable(str(source)), "languages": list(languages)}
    _claim(out, asked | ({} if words is None else {"words": words}))
    folders = [out / "parts" / fingerprint_part(part) for part in parts]
    bad: list[list[str]] = []
    made = _run_parts(parts, folders, languages, processes, words)
    for done, folder in enumerate(made, 1):
        bad += _part_report(folder)["bad"]
        if len(bad) > max_bad:
            raise UserError(
                f"{len(bad)} bad records are more than --max-bad {max_bad}; the last "
                f"one: {': '.join(bad[-1])}. Parts that are done stay: mend the "
                "source (what changes is read again), or allow more, and run again"
            )
        progress(done, len(parts))
    return _finish(out, folders)


def _claim(out: Path, asked: Mapping[str, Any]) -> None:
    """Take the folder for a source and its languages; the source may have changed."""
    advice = "use another --out"
    if files.is_claimed(out, CLAIM, advice):
        files.check_claim(out, files.read_json(out / CLAIM, advice), asked, advice)
    else:
        files.claim(out, CLAIM, asked, advice)


def _run_parts(
    parts: Sequence[Part],
    folders: Sequence[Path],
    languages: Sequence[str],
    processes: int,
    words: int | None,
) -> Iterator[Path]:
    """The folders of all parts, each when it is done; first those that were."""
    done = {folder for folder in folders if _is_done(folder)}
    todo = [pair for pair in zip(parts, folders, strict=True) if pair[1] not in done]
    yield from sorted(done)
    if processes <= 1 or not todo:
        for part, folder in todo:
            yield prepare_part(part, folder, languages, words)
        return
    context = multiprocessing.get_context("spawn")  # forks of JAX's threads hang
    with concurrent.futures.ProcessPoolExecutor(
        processes, context, initializer=end_with_parent
    ) as pool:
        told = repeat(languages), repeat(words)
        made = pool.map(prepare_part, *zip(*todo, strict=True), *told)
        try:
            yield from made
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(
                f"one of --processes {processes} was ended from outside, as by a lack "
                "of memory: the parts that are done stay; run the same command again, "
                "with fewer of them"
            ) from error
        except BaseException:  # what is begun would be waited for
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _is_done(folder: Path) -> bool:
    """Tell whether a part is whole; what could not be read may be readable now."""
    if not (folder / REPORT).is_file():
        return False
    try:
        report = _part_report(folder)
        check_files(folder, report["files"], AGAIN)
    except UserError:
        return False
    return all(reason != "unreadable" for _, _, reason, _ in report["bad"])


def prepare_part(
    part: Part, folder: Path, languages: Sequence[str], words: int | None = None
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
    sha = hashlib.sha256()

    def records() -> Iterator[dict[str, Any]]:
        for session in read_part(part, languages):
            session = _storable(session, words)
            if isinstance(session, Dropped) and session.reason == IGNORED:
                ignored.append(session.key)
                continue
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
            checks.append(check_of(session.key, session.images, session.instructions))
            seen.update(list(session.instructions))
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
    made = (path for path in folder.rglob("*") if path.is_file())
    report = {
        "origin": printable(part.origin),
        "kept": len(columns["turns"]),
        "bad": bad,
        "ignored": ignored,
        "notes": notes,
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


def _storable(
    session: RawSession | Dropped, words: int | None = None
) -> RawSession | Dropped:
    if isinstance(session, Dropped):
        return session
    if len(session.images) - 1 > MAX_TURNS:
        detail = f"{len(session.images) - 1} turns, at most {MAX_TURNS} are stored"
        return Dropped(session.key, session.origin, "too large", detail)
    return session if words is None else _readable(session, words)


def _readable(session: RawSession, words: int) -> RawSession | Dropped:
    """A session in those of its languages that an encoder of so many words takes."""
    refusal = NgramTextEncoder(words, 1).refusal
    kept, notes = {}, []
    for language, texts in session.instructions.items():
        refused = next(filter(None, map(refusal, texts)), "")
        if refused:
            notes.append(f"{language}: {refused}")
        else:
            kept[language] = texts
    if not kept:
        return Dropped(session.key, session.origin, "unfit text", notes[0])
    notes = [f"{session.key}: left out: {note}" for note in notes]
    return dataclasses.replace(
        session, instructions=kept, notes=(*session.notes, *notes)
    )


def _digest(sha: Any, session: RawSession) -> None:
    for data in (session.key.encode(), *session.images):
        sha.update(len(data).to_bytes(8, "little") + data)
    sha.update(json.dumps(dict(session.instructions), sort_keys=True).encode())


def _part_report(folder: Path) -> dict[str, Any]:
    path = folder / REPORT
    report = files.read_json(path, AGAIN)
    check_sealed(report, path, AGAIN)
    return report


def _finish(out: Path, folders: Sequence[Path]) -> Report:
    """Columns of all parts, the report, and `dataset.json`, which says it is done."""
    reports = {folder: _part_report(folder) for folder in folders}
    kept = [folder for folder in folders if reports[folder]["kept"]]
    columns = {
        column: np.concatenate(
            [np.load(folder / f"{column}.npy") for folder in kept]
            or [np.zeros(0, dtype)]
        )
        for column, dtype in {**COLUMNS, CHECKS: np.uint32}.items()
    }
    languages: collections.Counter[str] = collections.Counter()
    for part in reports.values():
        languages.update(part["languages"])
    bad = [tuple(entry) for part in reports.values() for entry in part["bad"]]
    origins = [reports[folder]["origin"] for folder in kept]
    bad += _leave_out_duplicates(kept, origins, columns)
    sizes = zip(columns["height"].tolist(), columns["width"].tolist(), strict=True)
    report = Report(
        kept=int(np.count_nonzero(columns["turns"])),
        dropped=dict(collections.Counter(entry[2] for entry in bad)),
        bad=bad,
        turns=dict(collections.Counter(t for t in columns["turns"].tolist() if t)),
        sizes=dict(collections.Counter(f"{h} x {w}" for h, w in sizes)),
        languages=dict(languages),
        ignored=[name for part in reports.values() for name in part["ignored"]],
        notes=[note for part in reports.values() for note in part["notes"]],
        path=str(out / REPORT),
    )
    files.write_json(out / REPORT, dataclasses.asdict(report))
    if not kept:
        raise UserError(
            f"not one session of {str(out)!r} can be used; why: "
            + ", ".join(f"{n} x {reason}" for reason, n in report.dropped.items())
            + "".join(
                f"; {origin}: {key}: {detail}" for origin, key, _, detail in bad[:1]
            )
            + f"; all of it in {report.path}"
        )
    for column, values in columns.items():
        # A run may have mapped the file that is there.
        with files.appearing(out / f"{column}.npy") as place, open(place, "wb") as file:
            np.save(file, values)
    digests = (reports[folder]["digest"].encode() for folder in kept)
    about = {
        "format": FORMAT,
        "parts": [folder.name for folder in kept],
        "sessions": [reports[folder]["kept"] for folder in kept],
        "languages": sorted(languages),
        "fingerprint": files.sha256(*digests, digits=16),
        "columns": list_files(out, (out / f"{name}.npy" for name in columns), RECORDS),
        "files": {folder.name: reports[folder]["files"] for folder in kept},
    }
    files.write_json(out / ABOUT, sealed(about))
    _remove_others(out / "parts", {folder.name for folder in folders})
    return report


def _remove_others(parts: Path, names: Collection[str]) -> None:
    """Remove the parts of what the source no longer has: no dataset names them.

    Folders of other names than a part's stay: somebody else made them.
    """
    for folder in parts.iterdir():
        if folder.name not in names and is_fingerprint(folder.name):
            shutil.rmtree(folder)


def _leave_out_duplicates(
    kept: Sequence[Path], origins: Sequence[str], columns: Mapping[str, np.ndarray]
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
            origins[part_of[index]],
            f"number {index}",
            "duplicate",
            "an earlier part has a session of the same name",
        )
        for index in np.flatnonzero(again)
    ]
