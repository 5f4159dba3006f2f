"""A stage's measurements: metrics.jsonl, TensorBoard, and the line on the console."""

import contextlib
import errno
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from anchoredit_jax import files
from anchoredit_jax.training.wandb_run import WandbRun

log = logging.getLogger(__name__)

COMPILING = "compiling the first step"

FILE = "metrics.jsonl"
BOARD = "tensorboard"


class MetricsLog:
    """Writes rows to `<folder>/metrics.jsonl`, to `<folder>/tensorboard` and, where it
    is asked for, to Weights & Biases.

    Rows past `start` (of steps that a resumed run does again; all, of one that begins)
    and lines that hold no row, such as one that was cut off, are dropped first, the
    latter with a warning. Without a folder (of processes beside the first) rows go
    nowhere.
    """

    def __init__(self, folder: Path | None, start: int, wandb: WandbRun | None = None):
        self._file = self._board = None
        if folder is None:
            return
        from anchoredit_jax.training.board import Board  # imports PyTorch: seconds

        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._wandb = folder, wandb
        path = folder / FILE
        _truncate(path, start)
        with files.naming(folder / BOARD):
            self._board = Board(folder / BOARD, start)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one row, which is on disk when this returns.

        Raises:
          OSError: the disk refuses, or the log was removed meanwhile, and with it maybe
            all that the run had written: rows would go nowhere.
        """
        if self._file is None:
            return
        if os.fstat(self._file.fileno()).st_nlink == 0:
            said = "removed while the run wrote to it; what is beside it now stands"
            raise FileNotFoundError(errno.ENOENT, said, str(self._folder / FILE))
        with files.naming(self._folder / FILE):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        with files.naming(self._folder / BOARD):
            for name, value in values.items():
                self._board.scalar(name, value, step)
            self._board.flush()
        if self._wandb is not None:
            self._wandb.log({"step": step, **values})

    def write_picture(self, step: int, name: str, picture: Image.Image) -> None:
        """Write `<folder>/<name>/<step>.png`."""
        if self._file is None:
            return
        path = self._folder / name / f"{step:08d}.png"
        with files.appearing(path) as partial:
            picture.save(partial, format="png")
        with files.naming(self._folder / BOARD):
            self._board.picture(name, np.asarray(picture), step)
        if self._wandb is not None:
            self._wandb.picture(step, name, picture)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()
            if self._wandb is not None:
                self._wandb.finish()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        # What the disk refused is told already; closing would be refused again.
        with contextlib.suppress(*((OSError,) if kind else ())):
            self.close()


def read_metrics(path: Path) -> list[dict]:
    """The rows of a metrics.jsonl, see `scan_metrics`."""
    return scan_metrics(path)[0]


def scan_metrics(path: Path) -> tuple[list[dict], int]:
    """(rows, lines left out) of a metrics.jsonl, in the order of the file.

    A row is an object with a step, 0 or a greater whole number; what else a line may
    hold (a row that was cut off, a file system's zeros) is left out and counted.
    """
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    rows = [row for row in map(_row, lines) if row is not None]
    return rows, len(lines) - len(rows)


def _row(line: bytes) -> dict | None:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):  # no UTF-8 or no JSON; brackets without end
        return None
    step = row.get("step") if isinstance(row, dict) else None
    return row if type(step) is int and step >= 0 else None


def progress_bar(stage: str, start: int, total: int, quiet: bool = False) -> tqdm:
    """A bar over the steps of a stage; in a log file, a line every half minute.

    It says that the first step is compiled until `count_step` has counted that.
    """
    live = sys.stderr.isatty()
    bar = tqdm(
        total=total,
        initial=start,
        desc=stage,
        unit="step",
        disable=quiet,
        mininterval=0.2 if live else 30,
        maxinterval=1 if live else 60,
        dynamic_ncols=live,
    )
    bar.set_postfix_str(COMPILING)
    return bar


def count_step(bar: tqdm) -> None:
    """Move a bar by a step that is done. Its clock starts after the first one of the
    process, which takes minutes to compile and says nothing of the others."""
    if bar.postfix == COMPILING and not bar.disable:
        bar.set_postfix_str("", refresh=False)
        bar.initial = bar.last_print_n = bar.n + 1
        bar.start_t = bar.last_print_t = time.time()
    bar.update()


def _truncate(path: Path, start: int) -> None:
    if not path.exists():
        return
    rows, left_out = scan_metrics(path)
    if left_out:
        log.warning("%s: %d lines that hold no row are dropped", path, left_out)
    kept = [row for row in rows if 0 < start >= row["step"]]
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
