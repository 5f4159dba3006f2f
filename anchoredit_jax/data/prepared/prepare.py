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
import json
import multiprocessing
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from anchoredit_jax import files
from anchoredit_jax.data.prepared.filters import ASKED, Filters
from anchoredit_jax.data.prepared.left_out import (
    leave_out_duplicates,
    leave_out_near,
    show_left_out,
)
from anchoredit_jax.data.prepared.part import (
    REPORT,
    Bad,
    is_done,
    prepare_part,
    read_report,
)
from anchoredit_jax.data.prepared.reader import (
    ABOUT,
    CHECKS,
    COLUMNS,
    FORMAT,
    RECORDS,
)
from anchoredit_jax.data.seals import list_files, sealed
from anchoredit_jax.data.sessions import (
    Part,
    Reading,
    Source,
    TablePart,
    fingerprint_part,
    is_fingerprint,
    open_source,
    printable,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.in_use import in_use
from anchoredit_jax.orphans import end_with_parent

CLAIM = "source.json"
_ASKED = ("source", "languages", "words", "reading", "filters")
_SHOWN = 3  # lines of a kind


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of the raw sessions.

    Attributes:
      kept: sessions in the dataset.
      dropped: reason -> how many.
      bad: every dropped one.
      ignored: hidden and system files, and others that are of no session.
      notes: lines on what was kept though it is not as it should be.
      gaps: turns whose source was not the image before, in kept or split sessions.
      source: how the source was read.
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
    gaps: int = 0
    source: str = ""
    path: str = dataclasses.field(default=REPORT, compare=False)

    def describe(self) -> str:
        """A few lines: every count, with the first of what it counts."""
        lines = [self.source] if self.source else []
        lines.append(f"sessions kept: {self.kept}")
        for name, counts in (("turns", self.turns), ("languages", self.languages)):
            told = ", ".join(f"{key}: {count}" for key, count in sorted(counts.items()))
            lines.append(f"{name}: {told or 'none'}")
        lines.append(f"dropped: {len(self.bad) or 'none'}")
        for reason, count in sorted(self.dropped.items()):
            some = [entry for entry in self.bad if entry[2] == reason]
            lines.append(f"  {reason}: {count}")
            lines += _first([": ".join(entry) for entry in some])
        if self.gaps:
            lines.append(f"turns that begin from another image: {self.gaps}")
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
    filters: Filters | None = None,
    reading: Reading | None = None,
    progress: Callable[[int, int], None] = lambda done, parts: None,
) -> Report:
    """Write a dataset of the sessions of `source`, for `PreparedSessions`.

    Args:
      source: what `open_source` takes: shards, folders, or tables.
      out: folder; what is there already of the same files of the source is kept, what
        is there of others is removed when all is done.
      languages: texts to keep; a session needs all turns of at least one.
      max_bad: with more bad records than this the preparation stops.
      links: what to do with symbolic links in folders: "follow" or "refuse".
      filters: what else is left out; nothing by default.
      reading: the format, columns and gaps of tables, see `open_source`.
      progress: called with the number of parts done, and of all.

    Raises:
      UserError: no source, an `out` of another source, too many bad records, or not one
        session that can be used.
    """
    out, reading, filters = Path(out), reading or Reading(), filters or Filters()
    opened = open_source(source, reading, links)
    files.check_plain(out, "prepared sessions")
    asked = {"source": printable(str(source)), "languages": list(languages)}
    asked |= {"words": filters.words} if filters.words else {}
    others = dataclasses.replace(filters, words=0)
    for name, chosen in (("reading", reading), ("filters", others)):
        other = _other(chosen)  # folders of former versions have no such entry
        asked |= {name: other} if other else {}
    with in_use(out):
        _claim(out, asked)
        return _prepare(out, opened, languages, processes, max_bad, progress, filters)


def _prepare(
    out: Path,
    source: Source,
    languages: Sequence[str],
    processes: int,
    max_bad: int,
    progress: Callable[[int, int], None],
    filters: Filters,
) -> Report:
    """`prepare` in a folder that nobody else writes into."""
    parts = source.parts
    folders = [out / "parts" / fingerprint_part(part) for part in parts]
    bad: list[list[str]] = []
    made = _run_parts(parts, folders, languages, processes, filters)
    for done, folder in enumerate(made, 1):
        bad += [entry for entry in read_report(folder)["bad"] if entry[2] not in ASKED]
        if len(bad) > max_bad:
            raise UserError(
                f"{len(bad)} bad records are more than --max-bad {max_bad}; the last "
                f"one: {': '.join(bad[-1])}. Parts that are done stay: mend the "
                "source (what changes is read again), or allow more, and run again"
            )
        progress(done, len(parts))
    return _finish(out, folders, source.told, filters)


def _claim(out: Path, asked: Mapping[str, Any]) -> None:
    """Take the folder for a source and its languages; the source may have changed."""
    advice = "use another --out"
    if files.is_claimed(out, CLAIM, advice):
        there = files.read_json(out / CLAIM, advice)
        wanted = {name: asked.get(name) for name in _ASKED}  # also what is not asked
        files.check_claim(out, there, wanted, advice)
    else:
        files.claim(out, CLAIM, asked, advice)


def _run_parts(
    parts: Sequence[Part | TablePart],
    folders: Sequence[Path],
    languages: Sequence[str],
    processes: int,
    filters: Filters,
) -> Iterator[Path]:
    """The folders of all parts, each when it is done; first those that were."""
    done = {folder for folder in folders if is_done(folder)}
    todo = [pair for pair in zip(parts, folders, strict=True) if pair[1] not in done]
    yield from sorted(done)
    if processes <= 1 or not todo:
        for part, folder in todo:
            yield prepare_part(part, folder, languages, filters)
        return
    context = multiprocessing.get_context("spawn")  # forks of JAX's threads hang

    def stop(kind: type[BaseException] | None, *_: Any) -> None:
        for process in multiprocessing.active_children() if kind else ():
            process.terminate()  # what is begun would be waited for

    with (
        concurrent.futures.ProcessPoolExecutor(
            processes, context, initializer=end_with_parent
        ) as pool,
        contextlib.ExitStack() as stack,
    ):
        stack.push(stop)
        told = repeat(languages), repeat(filters)
        try:
            yield from pool.map(prepare_part, *zip(*todo, strict=True), *told)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise UserError(
                f"one of --processes {processes} was ended from outside, as by a lack "
                "of memory: the parts that are done stay; run the same command again, "
                "with fewer of them"
            ) from error


def _finish(out: Path, folders: Sequence[Path], told: str, filters: Filters) -> Report:
    """Columns of all parts, the report, and `dataset.json`, which says it is done."""
    reports = {folder: read_report(folder) for folder in folders}
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
    bad += leave_out_duplicates(kept, origins, columns)
    near, pairs = leave_out_near(kept, origins, columns, filters)
    bad += near
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
        gaps=sum(part.get("gaps", 0) for part in reports.values()),
        source=printable(told),
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
    show_left_out(out, folders, pairs)
    _remove_others(out / "parts", {folder.name for folder in folders})
    return report


def _remove_others(parts: Path, names: Collection[str]) -> None:
    """Remove the parts of what the source no longer has: no dataset names them.

    Folders of other names than a part's stay: somebody else made them.
    """
    for folder in parts.iterdir():
        if folder.name not in names and is_fingerprint(folder.name):
            shutil.rmtree(folder)


def _other(chosen: Any) -> dict[str, Any]:
    """The settings that are not the defaults, as JSON gives them back."""
    fields = dataclasses.fields(chosen)
    told = {f.name: getattr(chosen, f.name) for f in fields}
    told = {f.name: told[f.name] for f in fields if told[f.name] != f.default}
    return json.loads(json.dumps(told))
