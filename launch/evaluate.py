"""Measure how edited sessions drift, for memories, samplers and checkpoints.

    # 200 held-out sprite sessions of 12 turns, whose right answers are known exactly
    python launch/evaluate.py --checkpoint W/distribution_matching --out report

    # the same as pictures of other shapes, for what was trained on files of sprites
    python launch/evaluate.py --checkpoint W --shapes 64x64,56x75,48x85 --out report

    # two checkpoints side by side, each with its own sampler
    python launch/evaluate.py --out report \\
        --checkpoint teacher=W/causal_forcing@euler:20:guidance=1.5 \\
        --checkpoint student=W/distribution_matching@few_step:4

    # MagicBrush's dev or test set, multi-turn and single-turn, by its metrics
    python launch/evaluate.py --checkpoint W --dataset MagicBrush/test --out report \\
        --extractor clip=clip-vit-base-patch32 --extractor dino=dino-vits16

    # your own sessions, <id>/<id>.0.jpg and <id>/<id>.json, with features and a judge
    python launch/evaluate.py --checkpoint W --dataset sessions --out report \\
        --extractor dino=dinov2-base --judge gpt-4.1 --judge-url http://host:8000/v1

Prints the tables and writes report.html, which holds everything that is worth looking
at, report.json, turns.csv, sessions.csv and figures/. Interrupted, the same command
goes on: finished sessions lie in frames/, the judge's answers in judge.jsonl.

Sessions are spread over all devices, or over those of --mesh.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.command_line.editing import (  # noqa: E402
    add_schedule_flags,
    add_weights_flags,
)
from anchoredit_jax.command_line.programs import prepare_compiling  # noqa: E402
from anchoredit_jax.errors import exit_on_user_error  # noqa: E402


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
    parser.add_argument(
        "--policies", help="memories (default: full,sink1_window3,window3)"
    )
    parser.add_argument(
        "--parts",
        help="some of table,single_turn,story,ambiguous,identity,codec; all that the "
        "data has by default, of a dataset some of table,single_turn,identity,codec",
    )
    parser.add_argument(
        "--dataset",
        metavar="FOLDER",
        help="sessions in the validation layout, MagicBrush's published layout, or "
        "images with lists of instructions; held-out sprites by default",
    )
    parser.add_argument(
        "--shapes",
        metavar="HEIGHTxWIDTH,..",
        help="of the pictures that held-out sprites are drawn as, each edited at the "
        "size that training gives it (default: squares of the size trained at)",
    )
    parser.add_argument("--language", default="en", help="of the dataset's texts")
    parser.add_argument("--sessions", type=int, help="200 by default, of a dataset all")
    parser.add_argument("--turns", type=int, help="12 by default, of a dataset all")
    parser.add_argument(
        "--story-sessions", type=int, default=100, help="sessions of the part story"
    )
    parser.add_argument(
        "--ambiguous-sessions",
        type=int,
        default=200,
        help="sessions of the part ambiguous",
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        default=2,
        help="draws of each ambiguous instruction, with other noise",
    )
    parser.add_argument(
        "--identity-sessions", type=int, default=50, help="images of the part identity"
    )
    add_weights_flags(parser)
    add_schedule_flags(parser)
    parser.add_argument(
        "--mesh",
        metavar="AXIS=SIZE,..",
        help="of devices, as in data=4,tensor=2 (default: all of them as data)",
    )
    parser.add_argument(
        "--extractor",
        action="append",
        default=[],
        metavar="[NAME=]FOLDER",
        help="a DINOv2 or CLIP model, read by transformers; may be repeated",
    )
    parser.add_argument(
        "--judge",
        metavar="MODEL",
        help="a vision language model behind an OpenAI-compatible endpoint",
    )
    judge = parser.add_argument_group(
        "the judge",
        argument_default=argparse.SUPPRESS,  # what is not given is its own
    )
    judge.add_argument("--judge-url", metavar="URL", help="of the endpoint")
    judge.add_argument(
        "--judge-key",
        metavar="VARIABLE",
        help="environment variable that holds the key; '' for none",
    )
    judge.add_argument(
        "--judge-parallel", type=int, metavar="N", help="requests in flight"
    )
    judge.add_argument(
        "--judge-tokens",
        type=_or_none(int),
        metavar="N",
        help="of an answer with its reasoning; none: the endpoint's own limit",
    )
    judge.add_argument(
        "--judge-temperature",
        type=_or_none(float),
        metavar="T",
        help="none: the endpoint's own",
    )
    judge.add_argument(
        "--judge-seed", type=_or_none(int), metavar="N", help="none: no seed is sent"
    )
    judge.add_argument(
        "--judge-tries",
        type=int,
        metavar="N",
        help="answers that are paid for until a turn stays without a score",
    )
    judge.add_argument(
        "--judge-retries",
        type=int,
        metavar="N",
        help="of a request that got no answer",
    )
    judge.add_argument(
        "--judge-timeout", type=float, metavar="SECONDS", help="until an answer is due"
    )
    judge.add_argument(
        "--judge-image-side",
        type=int,
        metavar="PIXELS",
        help="of the longer side that the judge sees",
    )
    parser.add_argument(
        "--batch",
        type=int,
        help="sessions at a time (default: 50; 8 on a CPU, whose caches hold no more)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the held-out sessions and the noise"
    )
    return parser


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type of a flag that "none" leaves to the endpoint."""

    def read(text: str) -> Any:
        return None if text.lower() == "none" else kind(text)

    read.__name__ = f"{kind.__name__} or none"
    return read


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate; wrong input ends in one line on stderr and exit code 2."""
    with exit_on_user_error():
        args = make_parser().parse_args(argv)
        prepare_compiling()
        from anchoredit_jax.evaluation import check_out, evaluate
        from anchoredit_jax.evaluation.flags import (
            check_judged,
            load_extractors,
            make_contestant,
            make_judge,
            make_settings,
        )

        settings, judge = make_settings(args), make_judge(args)
        check_out(args.out)
        extractors = load_extractors(args.extractor)
        contestants = [
            make_contestant(text, args) for text in args.checkpoint or [None]
        ]
        report = evaluate(contestants, settings, args.out, extractors, judge)
        print(f"\nwritten to {args.out}: open report.html")
        check_judged(report)


if __name__ == "__main__":
    main()
