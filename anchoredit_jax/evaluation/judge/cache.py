"""Verdicts on disk: what was paid for once is not paid for again."""

import dataclasses
import itertools
import json
import logging
import os
import threading
import zlib
from pathlib import Path

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge.parse import HIGHEST, Usage, Verdict
from anchoredit_jax.evaluation.judge.question import Question

log = logging.getLogger(__name__)

# What a line raises that is no verdict.
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
_DAMAGE += (RecursionError,)
_START = b'{"key": "'  # of every line


def check_answers(path: Path) -> None:
    """Refuse a file that holds something else than a judge's answers.

    Raises:
      UserError: not one of its lines looks like a verdict, or it is no file.
    """

    def is_ours(path: Path) -> bool:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
        starts = (_START.startswith(line[: len(_START)]) for line in lines)
        return not lines or any(starts)

    what = "a file of a judge's answers"
    files.check_replaceable(path, is_ours, what, "give another --out")


class VerdictCache:
    """The verdicts in a file of JSON lines; one run at a time may write it.

    A line is on the disk when `record` returns, and has a check sum. A last line that a
    killed process left unfinished is dropped. Other lines that are no verdicts are told
    and set aside, into a file of the same name and ".damaged": nothing is lost, and the
    turns are judged again.

    Raises:
      UserError: a path that cannot be written.
    """

    def __init__(self, path: Path):
        self._lock = threading.Lock()
        self._known: dict[str, Verdict] = {}
        self.usage = Usage()  # of all lines
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._load(path)
            self._file = open(path, "ab")
        except OSError as error:
            raise UserError(
                f"the judge's answers cannot be kept in {str(path)!r}: "
                f"{error.strerror}; name a file that can be written"
            ) from error

    def get(self, key: str) -> Verdict | None:
        return self._known.get(key)

    def record(self, key: str, question: Question, verdict: Verdict) -> None:
        """Add a verdict; safe from several threads."""
        record = {
            "key": key,
            "session": question.session,
            "turn": question.turn,
            "instruction": verdict.instruction,
            "consistency": verdict.consistency,
            "reason": verdict.reason,
            "answers": verdict.answers,
            "cut_at": verdict.cut_at,
            "refused": verdict.refused,
            **dataclasses.asdict(verdict.usage),
        }
        line = json.dumps(record | {"check": _check(record)}).encode() + b"\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._keep(key, verdict)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "VerdictCache":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _keep(self, key: str, verdict: Verdict) -> None:
        self._known[key] = verdict
        self.usage += verdict.usage

    def _load(self, path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        torn = bool(lines) and _is_torn(lines[-1])
        good, bad = [], []
        for line in lines[:-1] if torn else lines:
            try:
                self._keep(*_read_record(json.loads(line)))
                good.append(line if line.endswith(b"\n") else line + b"\n")
            except _DAMAGE:
                bad.append(line)
        if bad:
            aside = _free_name(path.with_name(f"{path.name}.damaged"))
            files.write_bytes(aside, b"".join(bad))
            log.warning(
                "%d of %d lines of %r are no verdicts of a judge: they are set aside "
                "in %r, and these turns are judged again",
                *(len(bad), len(lines), str(path), str(aside)),
            )
        if good != lines:
            files.write_bytes(path, b"".join(good))


def _free_name(path: Path) -> Path:
    """The path, or with the first number behind it where nothing lies."""
    numbered = (path.with_name(f"{path.name}.{n}") for n in itertools.count(2))
    places = itertools.chain([path], numbered)
    return next(place for place in places if not os.path.lexists(place))


def _is_torn(line: bytes) -> bool:
    """Tell whether a line is the beginning of a record, which may be dropped.

    A line of some other file is not.
    """
    if line.endswith(b"\n") or line[: len(_START)] != _START[: len(line)]:
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


def _check(record: dict) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _read_record(record: dict) -> tuple[str, Verdict]:
    check = record.pop("check", None)
    if check is not None and check != _check(record):  # former versions have none
        raise ValueError("its check sum is another")
    scores = record["instruction"], record["consistency"]
    if scores != (None, None) and not all(
        type(score) is int and 0 <= score <= HIGHEST for score in scores
    ):
        raise ValueError(scores)
    usage = Usage(int(record["prompt_tokens"]), int(record["completion_tokens"]))
    answers, reason = int(record["answers"]), str(record["reason"])
    cut_at = record.get("cut_at")
    if "cut_at" not in record and reason.endswith("it was cut off"):
        cut_at = 0  # of a former version: any limit may be more
    if cut_at is not None:
        cut_at = int(cut_at)
    verdict = Verdict(
        *scores, reason, answers, usage, cut_at=cut_at,
        refused=bool(record.get("refused")),
    )  # fmt: skip
    return str(record["key"]), verdict
