"""A stage's measurements: metrics.jsonl, TensorBoard, and the line on the console."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from anchoredit_jax import files

FILE = "metrics.jsonl"


class MetricsLog:
    """Writes rows to `<folder>/metrics.jsonl` and `<folder>/tensorboard`.

    Rows past `start` (of steps that a resumed run does again) and a row that was cut
    off in the middle are dropped first, so that every step stands there once. Without
    a folder (processes beside the first) rows go nowhere.
    """

    def __init__(self, folder: Path | None, start: int):
        self._file = self._board = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        _truncate(path, start)
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=start + 1, flush_secs=10
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one row, which is on disk when this returns."""
        if self._file is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._board.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict]:
    """The rows of a metrics.jsonl, without a row that was cut off in the middle."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def progress_bar(stage: str, start: int, total: int, quiet: bool = False) -> tqdm:
    """A bar over the steps of a stage; in a log file, a line every half minute."""
    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=start,
        desc=stage,
        unit="step",
        disable=quiet,
        mininterval=0.2 if live else 30,
        maxinterval=1 if live else 60,
        dynamic_ncols=live,
    )


def _truncate(path: Path, start: int) -> None:
    if not path.exists():
        return
    kept = [row for row in read_metrics(path) if row["step"] <= start]
    files.write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
