"""Verdicts on disk: what was paid for once is not paid for again."""

import dataclasses
import json
import os
import threading
from pathlib import Path

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge.ask import Question
from anchoredit_jax.evaluation.judge.parse import HIGHEST, Usage, Verdict

_START = b'{"key": "'  # of every line


class VerdictCache:
    """The verdicts in a file of JSON lines; one run at a time may write it.

    A line is on the disk when `record` returns. A last line that a killed process left
    unfinished is dropped.

    Raises:
      UserError: a path that cannot be written, or a file with other lines.
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
            **dataclasses.asdict(verdict.usage),
        }
        line = json.dumps(record).encode() + b"\n"
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
        for number, line in enumerate(lines[:-1] if torn else lines, 1):
            try:
                self._keep(*_read_record(json.loads(line)))
            except (ValueError, LookupError, TypeError) as error:
                raise UserError(
                    f"line {number} of {str(path)!r} is no verdict of a judge: "
                    f"{line[:60]!r}; remove the line, or name another file"
                ) from error
        if torn:
            os.truncate(path, sum(map(len, lines[:-1])))
        elif lines and not lines[-1].endswith(b"\n"):  # as some text editors leave it
            with open(path, "ab") as file:
                file.write(b"\n")


def _is_torn(line: bytes) -> bool:
    """Tell whether a line is the beginning of a record, which may be dropped.

    A line of some other file is not.
    """
    if line.endswith(b"\n") or line[: len(_START)] != _START[: len(line)]:
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def _read_record(record: dict) -> tuple[str, Verdict]:
    scores = record["instruction"], record["consistency"]
    if scores != (None, None) and not all(
        type(score) is int and 0 <= score <= HIGHEST for score in scores
    ):
        raise ValueError(scores)
    usage = Usage(int(record["prompt_tokens"]), int(record["completion_tokens"]))
    answers, reason = int(record["answers"]), str(record["reason"])
    return str(record["key"]), Verdict(*scores, reason, answers, usage)
