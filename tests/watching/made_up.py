"""Workdirs as training would leave them, without any training."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from anchoredit_jax.checkpoint import assets, manager
from anchoredit_jax.checkpoint.lineage import Lineage
from anchoredit_jax.stages.step import TrainState
from tests.training.fake_stages import make_run

STAGES = ("single_turn", "causal_forcing", "consistency", "distribution_matching")
INTERVALS = ("0-250", "250-500", "500-750", "750-1000")


def write_rows(folder: Path, rows: Sequence[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_rows(stage: str, steps: int, every: int = 20, seed: int = 0) -> list[dict]:
    """Rows of a healthy stage, with held-out ones and edited sessions in between."""
    draw = np.random.default_rng([seed, STAGES.index(stage)])
    turns = range(1, 2 if stage == "single_turn" else 7)
    level = 0.2 / (1 + STAGES.index(stage))
    rows = []
    for step in range(every, steps + 1, every):
        loss = level * (0.15 + 0.85 / (1 + 12 * step / steps))
        noisy = [float(loss * factor) for factor in draw.lognormal(0, 0.25, 12)]
        row = {
            "step": step, "loss": noisy[0], "plain": noisy[1], "edit": noisy[2] / 2,
            "grad_norm": noisy[3] * 8 * (30 if draw.random() < 0.004 else 1),
            "update_norm": 0.02 * (1 - step / steps) + 0.001,
            "learning_rate": 1e-4 * min(step / 500, 1) * (1 - 0.9 * step / steps),
            "timestep": 600 + 30 * float(draw.normal()),
            "step_seconds": 2.1 + 0.02 * float(draw.normal()),
            "steps_per_second": 0.476,
            "sessions_per_second": 30.4, "tokens_per_second": 748_000.0,
            "data_wait": abs(0.01 * float(draw.normal())), "device_memory_gib": 44.5,
            "tflops": 312.0 + draw.normal(), "mfu": 0.41 + 0.005 * float(draw.normal()),
            "seconds_left": 2.1 * (2 * steps - step), "skipped": 0.0,
        }  # fmt: skip
        row |= {
            f"noise/{name}": noisy[4 + i] * (1.8 - 0.4 * i)
            for i, name in enumerate(INTERVALS)
        }
        row |= {f"turn/{turn}": noisy[5] * (0.9 + 0.06 * turn) for turn in turns}
        rows.append(row)
        if step % (every * 25) == 0 or step == steps:
            rows.append({"step": step, **_held_out(loss, turns, step / steps, draw)})
    return rows


def _held_out(loss, turns, done, draw) -> dict:
    row = {"held_out/ema/loss": loss * 1.05, "held_out/params/loss": loss * 1.1}
    row |= {
        f"held_out/ema/noise/{name}": loss * (1.8 - 0.4 * i)
        for i, name in enumerate(INTERVALS)
    }
    for turn in turns:
        row |= {
            f"held_out/ema/turn/{turn}": loss * (0.9 + 0.06 * turn),
            f"edited/success/{turn}": min(0.2 + 0.8 * done - 0.02 * turn, 1),
            f"edited/subject_psnr/{turn}": 20 + 12 * done - turn + draw.normal() / 3,
            f"edited/identity_drift/{turn}": 0.02 * turn * (1.3 - done),
            f"edited/colour/{turn}": 1 - 0.01 * turn * (1.3 - done),
            f"edited/sharpness/{turn}": 1 - 0.03 * turn * (1.3 - done),
        }
    return row | {"edited/success": 0.2 + 0.72 * done}


def write_sheet(folder: Path, step: int, colour: tuple[int, int, int], cells=(6, 7)):
    """A contact sheet of one colour, with its step."""
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    sheet = Image.new("RGB", (cells[1] * 104 + 8, cells[0] * 104 + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for row, column in np.ndindex(cells):
        left, top = 8 + 104 * column, 8 + 104 * row
        draw.rectangle((left, top, left + 96, top + 96), fill=colour)
        draw.ellipse(
            (left + 20 + 4 * column, top + 20, left + 70, top + 70),
            fill=(40 * row, 255 - 30 * column, 120),
        )
    draw.text((14, 14), str(step), fill="white")
    path = folder / "samples" / f"{step:08d}.png"
    sheet.save(path)
    return path


def save_checkpoint(
    folder: Path, step: int, parent: Lineage | None = None, /, **more
) -> Lineage:
    """A committed step with what `make_meta` writes and `more`; returns its lineage."""
    run = make_run("single_turn")
    meta = assets.make_meta(folder.name, step, run, parent) | more
    state = TrainState(jnp.int32(step), {"a": jnp.zeros(2)}, {}, {"a": jnp.zeros(2)})
    saver = manager.open_manager(folder / "checkpoints", None)
    manager.save(saver, step, state, meta)
    saver.wait_until_finished()
    saver.close()
    return Lineage(folder.name, step, f"{step:016x}", run.to_dict(), parent)


def make_workdir(
    workdir: Path, steps: Sequence[int], seed: int = 0, every: int = 20, sheets: int = 5
) -> Path:
    """Stages of these many steps; the last one is not finished."""
    for stage, count in zip(STAGES, steps, strict=False):
        folder = workdir / stage
        write_rows(folder, make_rows(stage, count, every, seed))
        last = stage == STAGES[len(steps) - 1]
        config = {
            "stage": stage,
            "optimizer": {"learning_rate": 1e-4 * (1 + seed), "clip": 1.0},
            "loop": {"steps": 2 * count if last else count},
        }
        (folder / "config.json").write_text(json.dumps(config))
        for number in range(1, sheets + 1):
            colour = (40 * number % 255, 90, 60 * (1 + STAGES.index(stage)))
            write_sheet(folder, count * number // sheets, colour)
    return workdir
