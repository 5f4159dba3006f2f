"""Plans as tables: Markdown to read, JSON to compare; lines are known by subject."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.files import check_replaceable
from anchoredit_jax.planning.row import PlanRow
from anchoredit_jax.planning.shapes import SQUARE

Row = dict[str, Any]  # a line as `PlanRow.to_dict` has it
Cell = Callable[[Row], Any]  # what a column holds of a line

_MEMORY = "## Memory of a chip, GiB"
EXPLAINED = """\
Predictions, not measurements: every line is the product's own program, compiled for
that topology by libtpu on a machine without a TPU. *GiB a chip*: arguments, temporaries
and program, of the memory that the compiler grants. *PFLOP*: of the model, by formula,
in the step that does most (forward, and twice as much backward where differentiated;
rematerialisation is not in it). *compiled / formula*: operations counted in the
compiled program, over the formula with what is computed twice. *attention*: blocks that
the compiled attention kernels work, of those that dense attention would. *predicted s*:
a lower bound, the largest of operations / peak, HBM bytes / bandwidth and bytes sent /
links, as if each were hidden behind the largest; *bound* is the one. *nothing hidden*:
their sum, as if each waited for the others. *keeps*: `model.remat`. *image*: the
square, or the worst of the other buckets, which kernels pad most. Where samples draw a
memory policy, the step that does most is one in which a chip's sample sees all."""

WORK_EXPLAINED = """\
*hidden GB*: of what is sent, what the compiled program sends while it computes products
(whether these take as long is not in it). *alone GB*: what the chip waits for. A dash
is an earlier line, compiled before this was counted."""


def key_of(row: Row) -> tuple[str, str, str, str]:
    """What a line is of: a newer one of the same replaces it."""
    bucket = row.get("bucket", SQUARE)
    return row["size"], row["program"], row["topology"], bucket


def read_rows(path: Path) -> list[Row]:
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
    except OSError as error:  # such as a folder
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a report of launch/plan.py: {error}") from error
    return rows


def check_report(path: Path) -> None:
    """Refuse, before anything is compiled, to write over what is no report.

    Raises:
      UserError: a file of another kind at `path`, or in the place of the Markdown.
    """

    def is_markdown(path: Path) -> bool:
        text = path.read_bytes()
        return text.startswith(b"# What ") and _MEMORY.encode() in text

    if path.suffix == ".md":
        raise UserError(f"--out {str(path)!r}: name a .json, the Markdown lies beside")
    read_rows(path)
    advice = "name another --out"
    beside = path.with_suffix(".md")
    check_replaceable(beside, is_markdown, "a report of launch/plan.py", advice)


def write_rows(path: Path, rows: Iterable[PlanRow], versions: str) -> None:
    """Put lines into the JSON report at `path` and the Markdown beside it.

    Raises:
      UserError: see `check_report`.
    """
    check_report(path)
    merged = {key_of(row): row for row in read_rows(path)}
    merged |= {key_of(row): row for row in (_plain(row.to_dict()) for row in rows)}
    report = {"versions": versions, "rows": list(merged.values())}
    for target, text in (
        (path, json.dumps(report, indent=1) + "\n"),
        (path.with_suffix(".md"), markdown(report)),
    ):
        files.write_text(target, text)


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report as text."""
    rows = report["rows"]
    notes = [f"- {_subject(row)}: {row['note']}" for row in rows if row["note"]]
    parts = [
        f"# What {', '.join(sorted({row['size'] for row in rows}))} needs",
        EXPLAINED,
        f"Compiled with {report['versions']}.",
        table(rows),
        *(["\n".join(notes)] if notes else []),
        _MEMORY,
        _memory_table(rows),
        "## Work of a chip in one step",
        WORK_EXPLAINED,
        _table(WORK, [row for row in rows if row["seconds"]]),
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


def table(rows: Sequence[Row]) -> str:
    """Lay out a plan as Markdown, one line a program."""
    return _table(COLUMNS, rows)


def short_table(rows: Sequence[Row]) -> str:
    """The table of docs/pods.md: less of each program."""
    return _table(SHORT, rows)


def mesh_text(mesh: Mapping[str, int]) -> str:
    """`fsdp 16 x context 4`."""
    return " x ".join(f"{axis} {size}" for axis, size in mesh.items())


def _table(columns: Mapping[str, Cell], rows: Iterable[Row]) -> str:
    return _markdown_table(columns, columns.values(), rows)


def _markdown_table(
    header: Iterable[str], cells: Collection[Cell], rows: Iterable[Row]
) -> str:
    lines = [[str(cell(row)) for cell in cells] for row in rows]
    rule = ["---"] * len(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def _memory_table(rows: Sequence[Row]) -> str:
    def gib(part: str) -> Cell:
        return lambda row: f"{row['memory'][part]:.2f}" if part in row["memory"] else ""

    # One of the parts is called "program" as well.
    parts = list(dict.fromkeys(part for row in rows for part in row["memory"]))
    cells = [_subject, *(gib(part) for part in parts)]
    return _markdown_table(("program", *parts), cells, rows)


def _image(row: Row) -> str:
    """`1024 x 1024`, or of another bucket `1088 x 960 (worst)`."""
    bucket = row.get("bucket", SQUARE)
    if "sides" not in row:
        return bucket
    height, width = row["sides"]
    return f"{height} x {width}" + (f" ({bucket})" if bucket != SQUARE else "")


def _subject(row: Row) -> str:
    return f"{row['program']}, {row['topology']}, {_image(row)}"


def _needed(row: Row) -> str:
    if not row["seconds"]:
        return f"does not fit: {row['missing']:.1f} missing"
    return f"{row['peak']:.1f}" + ("" if row["fits"] else " (does not fit)")


def _counted(cell: Cell) -> Cell:
    """A cell that is empty where nothing was compiled."""
    return lambda row: cell(row) if row["seconds"] else "-"


def _sent(hidden: bool) -> Cell:
    """GB sent beside products, or else alone; a dash in an earlier line."""

    def cell(row: Row) -> str:
        beside = row.get("hidden_bytes")
        if beside is None:
            return "—"
        alone = sum(row["collective_bytes"].values()) - beside
        return f"{(beside if hidden else alone) / 1e9:.1f}"

    return cell


def _number(name: str, form: str, unit: float = 1.0) -> Cell:
    """A field in units; "-" where it is not known."""

    def cell(row: Row) -> str:
        value = row[name]
        return "-" if value is None or math.isnan(value) else f"{value / unit:{form}}"

    return cell


COLUMNS: Mapping[str, Cell] = {
    "program": lambda row: row["program"],
    "image": _image,
    "chips": lambda row: f"{row['topology']} ({row['chips']})",
    "mesh": lambda row: mesh_text(row["mesh"]) or "1",
    "batch": lambda row: row["batch"],
    "keeps": lambda row: row["remat"],
    "GiB a chip": _needed,
    "of": _number("hbm", ".1f"),
    "PFLOP": _counted(_number("model_flops", ".3g", 1e15)),
    "compiled / formula": _counted(_number("agreement", ".2f")),
    "attention": _counted(_number("compiled_attention_share", ".2f")),
    "predicted s": _counted(_number("predicted_seconds", ".2g")),
    "bound": _counted(lambda row: row["bound"]),
    "nothing hidden": _counted(lambda row: f"{sum(row['seconds'].values()):.2g}"),
    "MFU at most": _counted(_number("predicted_mfu", ".2f")),
}
SHORT: Mapping[str, Cell] = {
    **{
        name: COLUMNS[name]
        for name in ("program", "image", "chips", "mesh", "batch", "keeps")
    },
    "GiB a chip": lambda row: f"{_needed(row)} of {row['hbm']:.1f}",
    "compiled / formula": COLUMNS["compiled / formula"],
    "predicted s (bound)": lambda row: (
        f"{COLUMNS['predicted s'](row)} ({COLUMNS['bound'](row)})"
    ),
}
WORK: Mapping[str, Cell] = {
    "program": _subject,
    "TFLOP": lambda row: f"{row['compiled_flops'] / row['chips'] / 1e12:.0f}",
    "again / model": lambda row: f"{row['repeated_flops'] / row['model_flops']:.2f}",
    "HBM GB": _number("hbm_bytes", ".0f", 1e9),
    "host GB": _number("host_bytes", ".0f", 1e9),
    "sent GB": lambda row: f"{sum(row['collective_bytes'].values()) / 1e9:.1f}",
    "hidden GB": _sent(hidden=True),
    "alone GB": _sent(hidden=False),
    "s by compute": lambda row: f"{row['seconds']['compute']:.2g}",
    "by HBM": lambda row: f"{row['seconds']['memory']:.2g}",
    "by links": lambda row: f"{row['seconds']['links']:.2g}",
    "compile s": _number("compile_seconds", ".0f"),
}


def _plain(row: Row) -> Row:
    """Replace NaN, which JSON does not have, by None."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }
