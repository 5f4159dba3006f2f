"""The validation layout as cases: a folder `<id>/` for each session, see `raw`.

A built benchmark has a manifest, `benchmark.json`, of what it consists of:

{"format": 1, "sessions": 2, "turns": 25, ..,
 "sources": {id: {"sha256": of image 0, "folder_sha256": of all its files, ..}, ..}}
"""

import functools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.images import decode_image, fit_image
from anchoredit_jax.data.sessions import (
    Dropped,
    ValidationSession,
    read_validation,
)
from anchoredit_jax.errors import ProblemsError, UserError, noting
from anchoredit_jax.evaluation.cases import Case
from anchoredit_jax.files import sha256

MANIFEST = "benchmark.json"
FORMAT = 1  # of the manifest
_NAME = re.compile(r"\w[\w.-]*")


def folder_cases(
    root: str | Path,
    size: Size | Callable[[Size], Size],
    language: str = "en",
    turns: int | None = None,
    limit: int | None = None,
) -> list[Case]:
    """The sessions of a folder, by name; sources are read now, right answers later.

    A case has a truth where the folder has images 1 .. N beside the source. Every image
    that counts is decoded once, so that none is found damaged during an evaluation. A
    folder with a `benchmark.json` must hold the sessions and sources listed there.

    Args:
      root: holds `<id>/<id>.0.<ext>, <id>.1.<ext>, .., <id>.json`.
      size: (height, width) that all are edited at, or what gives it for the (height,
        width) of a source. Sources and answers are cut and resized by `fit_image`.
      language: of the instructions; plain texts serve where it is not there.
      turns: at most so many of every session, from its first; all by default.
      limit: at most so many sessions, by name; the others are not looked at.

    Raises:
      UserError: there is no session, or there are tar shards.
      ProblemsError: some sessions are not sound. None is left out: a benchmark counts
        as a whole.
    """
    for name, value in (("turns", turns), ("limit", limit)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be 1 or more, given {value}")
    sources = read_sources(root)
    cases: list[Case] = []
    problems = [] if sources is None else find_gone(root, sources)
    folders = {} if sources is None else _read_digests(Path(root) / MANIFEST)
    for found in read_validation(root, language, turns, limit):
        if isinstance(found, Dropped):
            problems.append(f"{found.key}: {found.reason}: {found.detail}")
            continue
        with noting(problems, found.key):
            check_name(found.key)
            if sources is not None:
                check_source(sources, found.key, found.source)
                _check_folder(folders, Path(root) / found.key)
            cases.append(_case(found, size))
    if problems:
        raise ProblemsError(
            problems,
            f"the sessions of {str(root)!r}",
            "Mend or remove these: a benchmark is evaluated as a whole",
        )
    return cases


def check_name(name: str) -> None:
    """Refuse a session's name that may not stand in files and reports.

    Raises:
      UserError: it has other characters.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"the name {name!r} is not safe: rename it to letters, digits, '_', '-' "
            "and '.', the first one a letter, a digit or '_'"
        )


def read_sources(root: str | Path) -> dict[str, str] | None:
    """Session -> sha256 of its image 0; None for a folder that was not built.

    Raises:
      UserError: the manifest cannot be read, or is of another format.
    """
    path = Path(root) / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_bytes())
        version, sources = manifest["format"], manifest["sources"]
        digests = {name: source["sha256"] for name, source in sources.items()}
        if not all(isinstance(digest, str) for digest in digests.values()):
            raise TypeError("a digest is no text")
        for name in digests:
            check_name(name)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} cannot be read: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{str(path)!r} is no manifest of a benchmark: remove it, or build the "
            "benchmark again"
        ) from error
    if version != FORMAT:
        raise UserError(
            f"{str(path)!r} is of format {version!r}, this version reads {FORMAT}: "
            "build the benchmark again"
        )
    return digests


def folder_digest(folder: Path) -> str:
    """Over the names and bytes of a session's files; hidden ones do not count."""
    parts = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            data = path.read_bytes()
            parts += [path.name.encode(), len(data).to_bytes(8, "little"), data]
    return sha256(*parts)


def _read_digests(path: Path) -> dict[str, str]:
    """Session -> digest of its folder, of a manifest that was read before; those of
    earlier versions have none."""
    sources = json.loads(path.read_bytes())["sources"]
    return {
        name: source["folder_sha256"]
        for name, source in sources.items()
        if "folder_sha256" in source
    }


def _check_folder(digests: Mapping[str, str], folder: Path) -> None:
    """Refuse instructions or images that are not those the benchmark was built with."""
    if digests.get(folder.name, found := folder_digest(folder)) != found:
        raise UserError(
            f"its instructions or images are not those listed in {MANIFEST}: they were "
            "changed since the benchmark was built"
        )


def find_gone(root: str | Path, sources: Mapping[str, str]) -> list[str]:
    """A line for every session that is listed but is no longer a folder."""
    return [
        f"{name}: listed in {MANIFEST}, but gone"
        for name in sorted(sources)
        if not os.path.isdir(Path(root) / name)  # nor is a name that no disk takes
    ]


def check_source(sources: Mapping[str, str], name: str, data: bytes) -> None:
    """Refuse an image 0 that is not the one that the benchmark was built with.

    Raises:
      UserError: the session is not listed, or the image was changed.
    """
    if name not in sources:
        raise UserError(f"not listed in {MANIFEST}")
    if sources[name] != sha256(data):
        raise UserError(f"image 0 is not the one listed in {MANIFEST}")


def _case(session: ValidationSession, size: Size | Callable[[Size], Size]) -> Case:
    decoded = decode_image(session.source, name=session.key)
    if callable(size):
        size = size(decoded.shape[:2])
    source, _ = fit_image(decoded, size)
    read_truth = None
    if session.answers:
        read_truth = functools.partial(_read_truth, source, session.answers, size)
    return Case(
        session.key,
        source,
        session.instructions,
        read_truth,
        returns_to=session.returns_to,
    )


def _read_truth(source: np.ndarray, answers: Sequence[Path], size: Size) -> np.ndarray:
    frames = [fit_image(decode_image(path), size)[0] for path in answers]
    return np.stack([source, *frames])
