"""Measure how edited sprite sessions drift, for memories, samplers and checkpoints.

    python launch/evaluate.py --checkpoint W/distribution_matching --out report

    # two checkpoints side by side, each with its own sampler
    python launch/evaluate.py --out report \\
        --checkpoint teacher=W/causal_forcing@euler:20:guidance=1.5 \\
        --checkpoint student=W/distribution_matching@few_step:4

Prints the tables and writes report.json, drift curves, contact sheets and story.png.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402
from anchoredit_jax.evaluation import (  # noqa: E402
    DEFAULT_POLICIES,
    PARTS,
    Contestant,
    Settings,
    evaluate,
    parse_policies,
    parse_sampler,
)
from anchoredit_jax.session import load_editor  # noqa: E402

_SAMPLER = re.compile(r"(few_step|euler)(:.*)?")
_SILENT = re.compile(r"\d+|checkpoints|model\.safetensors|[./]+")


def make_parser() -> argparse.ArgumentParser:
    """The flags, with their defaults."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--checkpoint",
        action="append",
        metavar="[NAME=]PATH[@SAMPLER]",
        help="a weights file, stage folder or step folder (default: the shipped toy); "
        "may be repeated, later ones are compared with the first",
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of the report")
    parser.add_argument(
        "--sampler",
        metavar="KIND:STEPS[:OPTION=VALUE]",
        help="few_step:4 or euler:20:guidance=1.5; the checkpoint's own by default",
    )
    parser.add_argument(
        "--ambiguous-sampler",
        action="append",
        default=[],
        metavar="KIND:STEPS[:OPTION=VALUE]",
        help="one more sampler for the ambiguous instructions; may be repeated",
    )
    parser.add_argument("--policies", default=",".join(DEFAULT_POLICIES))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--story-sessions", type=int, default=100)
    parser.add_argument("--ambiguous-sessions", type=int, default=200)
    parser.add_argument(
        "--repetitions",
        type=int,
        default=2,
        help="draws of each ambiguous instruction, with other noise",
    )
    parser.add_argument("--weights", default="ema", choices=("ema", "params"))
    parser.add_argument("--batch", type=int, default=50, help="sessions at a time")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the held-out sessions and the noise"
    )
    return parser


def split_checkpoint(text: str) -> tuple[str, str, str | None]:
    """(name, path, sampler or None) of "[NAME=]PATH[@SAMPLER]".

    Without a name, the last part of the path that says something serves as one.
    """
    path, at, sampler = text.rpartition("@")
    if not at or not _SAMPLER.fullmatch(sampler):
        path, sampler = text, None
    name, equals, rest = path.partition("=")
    if not equals or "/" in name:
        parts = [part for part in Path(path).parts if not _SILENT.fullmatch(part)]
        name, rest = re.sub(r"[^\w.-]", "_", parts[-1] if parts else "toy"), path
    if not rest or not re.fullmatch(r"[\w.-]+", name):
        raise UserError(
            f"--checkpoint {text!r}: write [NAME=]PATH[@SAMPLER], NAME of letters, "
            "digits, '_', '-' and '.'"
        )
    return name, rest, sampler


def make_contestant(text: str | None, args: argparse.Namespace) -> Contestant:
    """Load one checkpoint (None: the shipped toy) with its samplers."""
    name, path, own = (
        ("shipped", None, None) if text is None else split_checkpoint(text)
    )
    editor = load_editor(path, weights=args.weights)
    default = editor.run.sampler
    chosen = own or args.sampler
    sampler = parse_sampler(chosen, default) if chosen else default
    more = [parse_sampler(extra, default) for extra in args.ambiguous_sampler]
    ambiguous = tuple(dict.fromkeys([sampler, *more]))
    return Contestant(name, path or "shipped weights", editor, sampler, ambiguous)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate; wrong input ends in one line on stderr and exit code 2."""
    with exit_on_user_error():
        args = make_parser().parse_args(argv)
        settings = Settings(
            policies=parse_policies(args.policies),
            parts=tuple(part.strip() for part in args.parts.split(",") if part.strip()),
            sessions=args.sessions,
            turns=args.turns,
            story_sessions=args.story_sessions,
            ambiguous_sessions=args.ambiguous_sessions,
            repetitions=args.repetitions,
            seed=args.seed,
            batch=args.batch,
        )
        contestants = [
            make_contestant(text, args) for text in args.checkpoint or [None]
        ]
        evaluate(contestants, settings, args.out)
        print(f"\nwritten to {args.out}")


if __name__ == "__main__":
    main()
