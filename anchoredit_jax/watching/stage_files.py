"""The files of one stage, read while they may still be written."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.errors import UserError
from anchoredit_jax.training.metrics_log import scan_metrics
from anchoredit_jax.watching.records import Change, Curve, StageRecord

METRICS, CONFIG, CHECKPOINTS, SAMPLES = (
    "metrics.jsonl",
    "config.json",
    "checkpoints",
    "samples",
)
LARGEST = 1e30  # of what is drawn; a greater number is as good as an infinite one
_LAST = 2**53  # a later step is a fault of the file


def is_stage(folder: Path) -> bool:
    """Whether a folder holds anything that a stage writes."""
    return (
        (folder / METRICS).is_file()
        or (folder / CONFIG).is_file()
        or (folder / CHECKPOINTS).is_dir()
        or (folder / SAMPLES).is_dir()
    )


def read_stage(folder: Path) -> StageRecord:
    """What a stage's folder holds; what cannot be read is told in `faults`."""
    faults: list[str] = []
    curves, rows, written = _read_curves(folder / METRICS, faults)
    meta = _read_meta(folder / CHECKPOINTS, faults)
    parent = None
    try:
        parent = assets.parent_of(meta)
    except (UserError, TypeError, ValueError) as error:
        faults.append(f"the lineage in {CHECKPOINTS} cannot be read: {error}")
    return StageRecord(
        name=folder.name,
        folder=folder,
        curves=curves,
        rows=rows,
        written=written,
        config=_read_config(folder / CONFIG, meta, faults),
        saved=meta.get("step"),
        parent=parent,
        changes=_changes(meta.get("changes", []), faults),
        sheets=_sheets(folder / SAMPLES, faults),
        faults=tuple(faults),
    )


def _read_curves(
    path: Path, faults: list[str]
) -> tuple[dict[str, Curve], int, float | None]:
    """(curves, rows, time of the last row); a later row of a step counts."""
    if not path.is_file():
        return {}, 0, None
    rows, left_out = scan_metrics(path)
    if left_out:
        faults.append(f"{METRICS}: {_count(left_out, 'line')} left out, no row in them")
    found: dict[str, dict[int, float]] = defaultdict(dict)
    strange: Counter[str] = Counter()
    for row in rows:
        if row["step"] > _LAST:
            strange["step"] += 1
            continue
        for name, value in row.items():
            if name == "step":
                continue
            if type(value) in (int, float) and abs(value) <= LARGEST:
                found[name][row["step"]] = value
            else:
                strange[name] += 1
    if strange:
        named = ", ".join(f"{name} ({count})" for name, count in strange.most_common(4))
        faults.append(
            f"{METRICS}: {_count(strange.total(), 'value')} left out that "
            f"{'is' if strange.total() == 1 else 'are'} no finite number: {named}"
            + (" and others" if len(strange) > 4 else "")
        )
    curves = {}
    for name, values in found.items():
        steps = sorted(values)
        curves[name] = Curve(
            np.array(steps, np.int64), np.array([values[step] for step in steps], float)
        )
    return curves, len(rows), path.stat().st_mtime if rows else None


def _read_meta(checkpoints: Path, faults: list[str]) -> dict[str, Any]:
    """What is stored beside the last committed step; a run may be removing old ones."""
    if not checkpoints.is_dir():
        return {}
    steps = [path for path in checkpoints.iterdir() if path.name.isdecimal()]
    for path in sorted(steps, key=lambda path: int(path.name), reverse=True):
        try:
            if manager.is_committed(path):
                return manager.read_meta(path)
        except (UserError, OSError) as error:
            faults.append(str(error))
    return {}


def _read_config(path: Path, meta: Mapping, faults: list[str]) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else None
        config = json.loads(text or meta.get("config") or "{}")
    except ValueError as error:
        faults.append(f"{CONFIG} cannot be read: {error}")
        return {}
    return config if isinstance(config, Mapping) else {}


def _changes(stored: Any, faults: list[str]) -> tuple[Change, ...]:
    try:
        return tuple(
            Change(
                int(one["step"]), {n: (o, w) for n, (o, w) in one["settings"].items()}
            )
            for one in stored
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        faults.append(
            f"the changes of settings in {CHECKPOINTS} are not read: {error!r}"
        )
        return ()


def _sheets(folder: Path, faults: list[str]) -> dict[int, Path]:
    paths = sorted(folder.glob("*.png"))
    others = [path.name for path in paths if not path.stem.isdecimal()]
    if others:
        faults.append(
            f"{SAMPLES}: {_count(len(others), 'picture')} left out, whose name is no "
            f"step: {others[0]}"
        )
    found = {int(path.stem): path for path in paths if path.stem.isdecimal()}
    return dict(sorted(found.items()))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
