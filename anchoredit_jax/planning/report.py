"""Plans as tables: Markdown to read, JSON to compare; lines are known by subject."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.planning.plan import PlanRow
from anchoredit_jax.planning.shapes import SQUARE

HEADER = (
    "program", "image", "chips", "mesh", "batch", "keeps", "GiB a chip", "of", "PFLOP",
    "compiled / formula", "attention", "predicted s", "bound", "MFU at most",
)  # fmt: skip
EXPLAINED = """\
Predictions, not measurements: every line is the product's own program, compiled for
that topology by libtpu on a machine without a TPU. *GiB a chip*: arguments, temporaries
and program, of the memory that the compiler grants. *PFLOP*: of the model, by formula,
in the step that does most (forward, and twice as much backward where differentiated;
rematerialisation is not in it). *compiled / formula*: operations counted in the
compiled program, over the formula with what is computed twice. *attention*: blocks that
the compiled attention kernels work, of those that dense attention would. *predicted s*:
a lower bound, the largest of operations / peak, HBM bytes / bandwidth and bytes sent /
links; *bound* is the one. *keeps*: `model.remat`. *image*: the square, or the worst of
the other buckets, which kernels pad most. Where samples draw a memory policy, the step
that does most is one in which a chip's sample sees all."""


def key_of(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """What a line is of: a newer one of the same replaces it."""
    bucket = row.get("bucket", SQUARE)
    return row["size"], row["program"], row["topology"], bucket


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON report; none if there is no file.

    Raises:
      UserError: not such a file.
    """
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text())["rows"]
        for row in rows:
            key_of(row)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a report of launch/plan.py: {error}") from error
    return rows


def write_rows(path: Path, rows: Iterable[PlanRow], versions: str) -> None:
    """Put lines into the JSON report at `path` and the Markdown beside it."""
    merged = {key_of(row): row for row in read_rows(path)}
    merged |= {key_of(row): row for row in (_plain(row.to_dict()) for row in rows)}
    report = {"versions": versions, "rows": list(merged.values())}
    for target, text in (
        (path, json.dumps(report, indent=1) + "\n"),
        (path.with_suffix(".md"), markdown(report)),
    ):
        files.write_text(target, text)


def markdown(report: dict[str, Any]) -> str:
    """The whole report as text."""
    rows = report["rows"]
    notes = [f"- {_subject(row)}: {row['note']}" for row in rows if row["note"]]
    parts = [
        f"# What {', '.join(sorted({row['size'] for row in rows}))} needs",
        EXPLAINED,
        f"Compiled with {report['versions']}.",
        table(rows),
        *(["\n".join(notes)] if notes else []),
        "## Memory of a chip, GiB",
        _memory(rows),
        "## Work of a chip in one step",
        _work(rows),
    ]
    return "\n\n".join(parts) + "\n"


def details(row: PlanRow) -> list[str]:
    """What a table has no room for, as lines."""
    name = f"{row.program} on {row.topology}, {_image(row.to_dict())}"
    parts = ", ".join(f"{what} {size:.2f}" for what, size in row.memory.items())
    lines = [f"{name}: GiB a chip: {parts}"]
    if row.missing:
        lines.append(f"{name}: {row.missing:.2f} GiB a chip are missing")
    if row.seconds:
        times = ", ".join(f"{what} {t:.3g}" for what, t in row.seconds.items())
        lines += [
            f"{name}: model {row.model_flops:.4g} operations (attention "
            f"{row.attention_share:.2f} of dense; in the mean step "
            f"{row.mean_flops:.4g}), computed twice "
            f"{row.repeated_flops:.4g}; compiled {row.compiled_flops:.4g}",
            f"{name}: predicted lower bounds, s: {times}",
        ]
    if row.note:
        lines.append(f"{name}: {row.note}")
    return lines


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a program."""
    return _table(HEADER, [_line(row) for row in rows])


def short_table(rows: Sequence[dict[str, Any]]) -> str:
    """The table of a README: less of each program."""
    lines = []
    for row in rows:
        (
            program,
            image,
            chips,
            mesh,
            batch,
            keeps,
            peak,
            hbm,
            _,
            agrees,
            _,
            seconds,
            bound,
            _,
        ) = _line(row)
        memory = f"{peak} of {hbm}"
        cells = (program, image, chips, mesh, batch, keeps, memory, agrees)
        lines.append((*cells, f"{seconds} ({bound})"))
    header = (
        "program", "image", "chips", "mesh", "batch", "keeps", "GiB a chip",
        "compiled / formula", "predicted s (bound)",
    )  # fmt: skip
    return _table(header, lines)


def _line(row):
    mesh = " x ".join(f"{axis} {size}" for axis, size in row["mesh"].items())
    start = (
        row["program"], _image(row), f"{row['topology']} ({row['chips']})",
        mesh or "1", row["batch"], row["remat"],
    )  # fmt: skip
    if not row["seconds"]:
        lacks = f"does not fit: {row['missing']:.1f} missing"
        return (*start, lacks, f"{row['hbm']:.1f}", *["-"] * 6)
    return (
        *start,
        f"{row['peak']:.1f}" + ("" if row["fits"] else " (does not fit)"),
        f"{row['hbm']:.1f}",
        f"{row['model_flops'] / 1e15:.3g}",
        f"{row['agreement']:.2f}",
        _share(row["compiled_attention_share"]),
        f"{row['predicted_seconds']:.2g}",
        row["bound"],
        f"{row['predicted_mfu']:.2f}",
    )


def _image(row):
    """`1024 x 1024`, or of another bucket `1088 x 960 (worst)`."""
    bucket = row.get("bucket", SQUARE)
    if "sides" not in row:
        return bucket
    height, width = row["sides"]
    return f"{height} x {width}" + (f" ({bucket})" if bucket != SQUARE else "")


def _subject(row):
    return f"{row['program']}, {row['topology']}, {_image(row)}"


def _memory(rows):
    names = list(dict.fromkeys(name for row in rows for name in row["memory"]))
    lines = [
        (
            _subject(row),
            *(
                f"{row['memory'][name]:.2f}" if name in row["memory"] else ""
                for name in names
            ),
        )
        for row in rows
    ]
    return _table(("program", *names), lines)


def _work(rows):
    lines = [
        (
            _subject(row),
            f"{row['compiled_flops'] / row['chips'] / 1e12:.0f}",
            f"{row['repeated_flops'] / row['model_flops']:.2f}",
            f"{row['hbm_bytes'] / 1e9:.0f}",
            f"{row['host_bytes'] / 1e9:.0f}",
            f"{sum(row['collective_bytes'].values()) / 1e9:.1f}",
            *(f"{row['seconds'][name]:.2g}" for name in ("compute", "memory", "links")),
            f"{row['compile_seconds']:.0f}",
        )
        for row in rows
        if row["seconds"]
    ]
    header = (
        "program", "TFLOP", "again / model", "HBM GB", "host GB", "sent GB",
        "s by compute", "by HBM", "by links", "compile s",
    )  # fmt: skip
    return _table(header, lines)


def _table(header, lines):
    texts = [[str(cell) for cell in line] for line in (header, *lines)]
    rule = ["---"] * len(header)
    return "\n".join(
        "| " + " | ".join(line) + " |" for line in (texts[0], rule, *texts[1:])
    )


def _share(value):
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def _plain(row):
    """NaN is no JSON."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }
