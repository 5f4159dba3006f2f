"""Compile training or editing for a TPU pod, without one, and say what it needs.

    python launch/plan.py --config configs/wan_14b.py:stage=causal_forcing \\
        --topology v5p:4x4x4 --mesh fsdp=16,context=4
    python launch/plan.py --config configs/wan_14b.py --topology v6e:2x4 --turn \\
        --mesh tensor=8
    python launch/plan.py --all --sizes 14b            # every line of docs/plan_14b.md

`--all` goes on where it stopped: lines that fit, of the configuration as it is now, are
left as they are (`--again` compiles them anew).

The very train step, or the programs of an editing turn, go through the TPU's compiler
(libtpu, extra [tpu]; Linux, x86-64). Printed are memory of a chip, operations against
the formula, bytes moved, and from these a predicted lower bound of the time. Exit
codes: 0 everything fits, 1 something does not, 2 wrong input.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# Nothing runs here: programs are only compiled.
os.environ["JAX_PLATFORMS"] = "cpu"

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402

if TYPE_CHECKING:
    from anchoredit_jax.config import RunConfig
    from anchoredit_jax.planning import PlanRow

ROOT = Path(__file__).resolve().parent.parent


def make_parser() -> Parser:
    parser = Parser(__doc__)
    parser.add_argument("--config", help="file.py or file.py:key=value,key=value")
    parser.add_argument("--topology", help="chip and grid, v5p:4x4x4 or v6e:16x16")
    parser.add_argument("--mesh", help="fsdp=16,context=4; else the configuration's")
    parser.add_argument(
        "--turn", action="store_true", help="an editing turn instead of a training step"
    )
    parser.add_argument("--image", type=int, help="side of the images, pixels")
    parser.add_argument(
        "--search", action="store_true", help="try meshes and memory policies"
    )
    parser.add_argument("--tries", type=int, default=4, help="of --search, at most")
    parser.add_argument("--all", action="store_true", help="every line of the tables")
    parser.add_argument("--sizes", default="14b", help="of --all: 14b,1_3b")
    parser.add_argument("--only", default="", help="of --all: part of a line's name")
    parser.add_argument(
        "--buckets", help="image shapes: square,worst; both with --all, else square"
    )
    parser.add_argument("--again", action="store_true", help="of --all: finished ones")
    parser.add_argument("--out", help="JSON report to put the lines into")
    return parser


def read_run(spec: str, topology: str, mesh: str | None) -> "RunConfig":
    """The run of a configuration; one with a table of pods is told the topology."""
    from anchoredit_jax import planning
    from anchoredit_jax.config import load_config, split_spec, with_argument
    from anchoredit_jax.parallel import MeshConfig
    from anchoredit_jax.strict import build_dataclass

    path, arguments = split_spec(spec)
    named = "pod=" in (arguments or "") or mesh is not None
    if planning.takes_pods(path) and not named:
        spec = with_argument(spec, "pod", topology)
    run = load_config(spec)
    if mesh is None:
        return run
    values = {}
    for pair in mesh.split(","):
        axis, _, size = pair.partition("=")
        if not size.isdecimal():
            raise UserError(f"--mesh {mesh!r}: expected axis=number, given {pair!r}")
        values[axis.strip()] = int(size)
    return run.replace(mesh=build_dataclass(MeshConfig, values, where="mesh"))


def plan_one(args) -> "list[PlanRow]":
    from anchoredit_jax import planning
    from anchoredit_jax.config import split_spec

    if not args.config or not args.topology:
        raise UserError("give --config and --topology, or --all")
    run = read_run(args.config, args.topology, args.mesh)
    plan = planning.plan_turn if args.turn else planning.plan_step

    name = split_spec(args.config)[0].stem
    buckets = read_buckets(args.buckets or "square")
    if args.turn and buckets != ["square"]:
        raise UserError("--buckets is of training steps: leave it out beside --turn")

    def compiled(run: "RunConfig", *bucket: str) -> "PlanRow":
        row = plan(run, args.topology, name, args.image, *bucket)
        print(planning.table([row.to_dict()]), flush=True)
        return row

    if not args.search:
        return [compiled(run, *([] if args.turn else [name])) for name in buckets]
    if args.turn:
        raise UserError("--search tries training steps; name --mesh for a turn")
    chips = len(planning.devices_of(args.topology))
    side = (args.image or run.data.size) // (run.codec.stride * run.model.patch)
    best, _ = planning.search(run, chips, side**2, compiled, args.tries)
    return [best]


def read_buckets(text: str) -> list[str]:
    """Names of image shapes, in their order."""
    from anchoredit_jax import planning

    buckets = text.split(",")
    for bucket in buckets:
        if bucket not in planning.BUCKETS:
            raise UserError(
                f"--buckets {text!r}: {bucket!r} is not one of "
                f"{', '.join(planning.BUCKETS)}"
            )
    return buckets


def plan_all(args) -> "list[PlanRow]":
    from anchoredit_jax import planning

    jobs = [
        job
        for size in args.sizes.split(",")
        for job in planning.jobs_of(
            size,
            ROOT / "configs",
            read_buckets(args.buckets or ",".join(planning.BUCKETS)),
        )
        if args.only in job.name
    ]
    if not jobs:
        raise UserError(f"--only {args.only!r} is part of no line's name")
    rows = []
    if not args.out and not (ROOT / "docs").is_dir():  # installed, not a clone
        raise UserError("--all has a place for its reports in a clone: give --out")
    outs = [args.out or ROOT / "docs" / f"plan_{job.size}.json" for job in jobs]
    for out in dict.fromkeys(map(Path, outs)):
        planning.check_report(out)
    for job, out in zip(jobs, map(Path, outs), strict=True):
        if not args.again and planning.is_done(job, planning.read_rows(out)):
            print(f"{job.name}: done before", flush=True)
            continue
        rows.append(planning.run_job(job))
        print(planning.table([rows[-1].to_dict()]), flush=True)
        planning.write_rows(out, rows[-1:], planning.describe_versions())
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = make_parser().parse_args(argv)
        from anchoredit_jax import planning

        if args.out:
            planning.check_report(Path(args.out))
        rows = plan_all(args) if args.all else plan_one(args)
        if args.out and not args.all:
            versions = planning.describe_versions()
            planning.write_rows(Path(args.out), rows, versions)
        for row in rows:
            for text in planning.details(row):
                print(text)
    if not all(row.fits for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
