"""Show that a run repeats in every bit, or where it first does not.

    python launch/reproduce.py run --config C --workdir W    # train, and certify
    python launch/reproduce.py check --config C --against W/single_turn
    python launch/reproduce.py compare A/single_turn B/single_turn
    python launch/reproduce.py matrix                        # interrupted, meshes, ...
    python launch/reproduce.py sessions --checkpoint W       # editing

`run` is launch/train.py, which writes a certificate beside the checkpoints: versions,
devices, mesh, flags and configuration; digests of every step's records and draws, the
bits of its losses and of the norms of its gradients; at checkpoints a digest of every
array of the state. `check` does the steps again and says what kind of thing differs
first, and by how much; `compare` does so for two certificates, on any machine.

Exit codes: 0 equal (or trained), 1 differs, 2 wrong input; of `run` also those of
launch/train.py.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.command_line.hosts import (  # noqa: E402
    add_host_arguments,
    host_flags,
)
from anchoredit_jax.errors import exit_on_user_error  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "configs" / "reproduce.py"


def make_parser() -> Parser:
    parser = Parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, said: str, config: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, description=said, help=said)
        if config:
            added.add_argument("--config", required=True, help="as of launch/train.py")
        added.add_argument("--quiet", action="store_true", help="no progress bar")
        return added

    run = command("run", "train a stage and write its certificate")
    run.add_argument("--workdir", required=True, help="folder of all stages")
    run.add_argument("--parent", help="checkpoint or bundle of the stage before")
    run.add_argument("--every", type=int, default=1, help="steps between two rows")
    run.add_argument(
        "--change", action="store_true", help="as of launch/train.py; certified too"
    )
    run.add_argument("--from-step", type=int, metavar="N", help="as of launch/train.py")
    add_host_arguments(run)
    check = command("check", "train again and compare with a certificate")
    check.add_argument("--against", required=True, help="certificate, or its folder")
    check.add_argument("--steps", default=":", help="FIRST:LAST, all by default")
    check.add_argument("--workdir", help="empty folder for the rerun, a temporary one")
    check.add_argument("--parent", help="that the run began from, where it has moved")
    compare = command("compare", "compare two certificates; nothing is run", False)
    compare.add_argument(
        "certificates",
        nargs=2,
        metavar="CERTIFICATE",
        help="a file, or the folder of a stage that has one",
    )
    matrix = command("matrix", "what keeps the bits of a run and what does not", False)
    matrix.add_argument("--config", default=str(TOY), help="a stage without a parent")
    matrix.add_argument("--only", default="", help="part of the name of a trial")
    sessions = command("sessions", "the same for editing sessions", False)
    sessions.add_argument("--checkpoint", help="weights; the shipped toy by default")
    return parser


def run(args: argparse.Namespace) -> None:
    from anchoredit_jax.reproducibility.train import train

    train(
        args.config,
        args.workdir,
        host_flags(args),
        args.parent,
        every=args.every,
        quiet=args.quiet,
        change=args.change,
        from_step=args.from_step,
    )


def check(args: argparse.Namespace) -> bool:
    from anchoredit_jax.config import load_config
    from anchoredit_jax.reproducibility import describe, rerun
    from anchoredit_jax.training.exits import exit_codes

    with exit_codes(), tempfile.TemporaryDirectory() as scratch:
        comparison, distances = rerun.check(
            load_config(args.config),
            args.against,
            args.workdir or scratch,
            rerun.Steps.parse(args.steps),
            args.parent,
            quiet=args.quiet,
        )
    print("\n".join(describe(comparison, distances)))
    return comparison.equal


def compare(args: argparse.Namespace) -> bool:
    from anchoredit_jax import reproducibility

    comparison = reproducibility.compare(
        *(reproducibility.read(path) for path in args.certificates)
    )
    print("\n".join(reproducibility.describe(comparison)))
    return comparison.equal


def matrix(args: argparse.Namespace) -> bool:
    from anchoredit_jax.reproducibility import table
    from anchoredit_jax.reproducibility.battery import run_battery

    outcomes = run_battery(args.config, args.only, quiet=args.quiet)
    print(table(outcomes))
    return all(outcome.passed for outcome in outcomes)


def sessions(args: argparse.Namespace) -> bool:
    from anchoredit_jax.reproducibility import table
    from anchoredit_jax.reproducibility.sessions import run_battery

    outcomes = run_battery(args.checkpoint)
    print(table(outcomes))
    return all(outcome.passed for outcome in outcomes)


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = make_parser().parse_args(argv)
        commands = dict(
            run=run, check=check, compare=compare, matrix=matrix, sessions=sessions
        )
        if commands[args.command](args) is False:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
