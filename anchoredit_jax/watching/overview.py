"""The top of the page: where a run is, its latest numbers, and what to look at."""

import datetime
from collections.abc import Mapping
from html import escape

import numpy as np

from anchoredit_jax.watching.curves import shown
from anchoredit_jax.watching.records import StageRecord, WorkdirRecord

SILENT = 3600.0  # seconds without a row, after which an unfinished stage is told of
WAITING = 0.1  # share of the time that waits for data, from which on it is told
_LATEST = (
    ("loss", "loss", ""),
    ("held_out/ema/loss", "loss, held out", ""),
    ("edited/success", "edits that succeed", "%"),
    ("grad_norm", "gradient norm", ""),
    ("steps_per_second", "steps per second", ""),
    ("mfu", "MFU", "%"),
    ("data_wait", "waiting for data", "%"),
    ("device_memory_gib", "memory per chip", "GiB"),
)


def overview(workdir: WorkdirRecord, now: datetime.datetime) -> str:
    """Where one workdir is, as markup."""
    stage = workdir.current
    if stage is None:
        body = "<p><b>no rows yet</b>: training has not written any metrics</p>"
    else:
        body = _where(stage, now) + _tiles(stage)
    notes = [f"<li>{escape(note)}</li>" for note in find_notes(workdir, now)]
    told = f'<ul class="notes">{"".join(notes)}</ul>' if notes else ""
    return f"{body}{told}{_stages(workdir)}"


def find_notes(workdir: WorkdirRecord, now: datetime.datetime) -> list[str]:
    """What a person should look at, a sentence each."""
    notes, stage = [], workdir.current
    if stage is not None and stage.written is not None:
        silent = now.timestamp() - stage.written
        if silent > SILENT and not stage.finished:
            notes.append(
                f"{stage.name} is not finished and has written no row for "
                f"{duration(silent)}"
            )
        waits = stage.latest("data_wait") or 0.0
        if waits > WAITING:
            notes.append(f"{stage.name} waits for data {waits:.0%} of its time")
        if stage.latest("skipped"):
            notes.append(f"{stage.name} skips steps: see Optimisation")
    for own in workdir.stages:
        notes.extend(f"{own.name}: {fault}" for fault in own.faults)
    return notes


def duration(seconds: float) -> str:
    """In two units: 3 d 4 h, 5 h 12 min, 12 min, 40 s."""
    whole = int(seconds)
    if whole < 60:
        return f"{max(whole, 0)} s"
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days:,} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def seconds_left(stage: StageRecord) -> float | None:
    """Of the stage: as its last row tells, or by its speed."""
    if stage.finished:
        return 0.0
    left, each = stage.latest("seconds_left"), stage.latest("step_seconds")
    if left is None and each is not None and stage.steps is not None:
        left = (stage.steps - stage.step) * each
    return left


def _where(stage: StageRecord, now: datetime.datetime) -> str:
    left, steps = seconds_left(stage), stage.steps
    of = f" of {steps:,} ({stage.step / steps:.0%})" if steps else ""
    words = [f"<b>{escape(stage.name)}</b>, step {stage.step:,}{of}"]
    if left is not None:
        words.append("finished" if stage.finished else f"<b>{duration(left)} left</b>")
    if stage.written is not None:
        words.append(f"last row {duration(now.timestamp() - stage.written)} ago")
    bar = (
        f'<progress max="{steps}" value="{stage.step}" aria-label="steps of the stage">'
        "</progress>"
        if steps
        else ""
    )
    return f'<p class="where">{"; ".join(words)}</p>{bar}'


def _tiles(stage: StageRecord) -> str:
    tiles = []
    for name, title, unit in _LATEST:
        value = stage.latest(name)
        if value is not None:
            tiles.append(f"<div><dt>{title}</dt><dd>{shown(value, unit)}</dd></div>")
    return f'<dl class="tiles">{"".join(tiles)}</dl>' if tiles else ""


def _stages(workdir: WorkdirRecord) -> str:
    """A line a stage."""
    heads = ("stage", "steps", "loss", "held out", "edits", "time in steps", "saved")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in _cells(stage)) + "</tr>"
        for stage in workdir.stages
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _cells(stage: StageRecord) -> list[str]:
    loss, held_out = stage.curves.get("loss"), stage.latest("held_out/ema/loss")
    success, saved = stage.latest("edited/success"), stage.saved
    cells: Mapping[str, str | None] = {
        "stage": escape(stage.name),
        "steps": f"{stage.step:,}" + (f" of {stage.steps:,}" if stage.steps else ""),
        "loss": None
        if loss is None
        else f"{shown(loss.values[0], '')} → {shown(loss.values[-1], '')}",
        "held out": None if held_out is None else shown(held_out, ""),
        "edits": None if success is None else shown(success, "%"),
        "time": _time_in_steps(stage),
        "saved": None if saved is None else f"{saved:,}",
    }
    return [text or "-" for text in cells.values()]


def _time_in_steps(stage: StageRecord) -> str | None:
    """Without pauses, checkpoints and the first step, which compiles."""
    each = stage.curves.get("step_seconds")
    if each is None:
        return None
    return duration(float(np.diff(each.steps, prepend=0) @ each.values))
