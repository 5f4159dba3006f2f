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
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.diffusion.sampler_text import parse_sampler  # noqa: E402
from anchoredit_jax.diffusion.samplers import SamplerConfig  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402
from anchoredit_jax.evaluation import (  # noqa: E402
    DATASET_PARTS,
    DEFAULT_POLICIES,
    PARTS,
    Contestant,
    Settings,
    check_out,
    check_parts,
    evaluate,
    parse_policies,
)
from anchoredit_jax.evaluation.judge import JudgeConfig, check_key  # noqa: E402
from anchoredit_jax.evaluation.measures import (  # noqa: E402
    FeatureExtractor,
    check_names,
    load_extractor,
)
from anchoredit_jax.parallel import AXES, MeshConfig  # noqa: E402
from anchoredit_jax.session.flags import (  # noqa: E402
    add_schedule_flags,
    add_weights_flags,
    load_flagged,
)
from anchoredit_jax.session.overrides import override_sampler  # noqa: E402

_SAMPLER = re.compile(r"(.*)@((?:few_step|euler)(?::.*)?)")
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
    parser.add_argument(
        "--parts",
        help=f"some of {','.join(PARTS)}; all that the data has by default, of a "
        f"dataset some of {','.join(DATASET_PARTS)}",
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
    parser.add_argument("--story-sessions", type=int, default=100)
    parser.add_argument("--ambiguous-sessions", type=int, default=200)
    parser.add_argument(
        "--repetitions",
        type=int,
        default=2,
        help="draws of each ambiguous instruction, with other noise",
    )
    parser.add_argument("--identity-sessions", type=int, default=50)
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
    parser.add_argument("--judge-url", default=JudgeConfig.base_url)
    parser.add_argument(
        "--judge-key",
        default=JudgeConfig.api_key_env,
        metavar="VARIABLE",
        help="environment variable that holds the key; '' for none",
    )
    parser.add_argument("--judge-parallel", type=int, default=JudgeConfig.parallel)
    parser.add_argument(
        "--judge-tokens",
        default=JudgeConfig.max_tokens,
        type=_or_none(int),
        help="of an answer with its reasoning; none: the endpoint's own limit",
    )
    parser.add_argument(
        "--judge-temperature",
        default=JudgeConfig.temperature,
        type=_or_none(float),
        help="none: the endpoint's own",
    )
    parser.add_argument(
        "--judge-seed",
        default=JudgeConfig.seed,
        type=_or_none(int),
        help="none: no seed is sent",
    )
    parser.add_argument(
        "--judge-tries",
        type=int,
        default=JudgeConfig.answers,
        help="answers that are paid for until a turn stays without a score",
    )
    parser.add_argument(
        "--judge-retries",
        type=int,
        default=JudgeConfig.retries,
        help="of a request that got no answer",
    )
    parser.add_argument(
        "--judge-timeout", type=float, default=JudgeConfig.timeout, metavar="SECONDS"
    )
    parser.add_argument(
        "--judge-image-side",
        type=int,
        default=JudgeConfig.image_side,
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


def split_checkpoint(text: str) -> tuple[str, str, str | None]:
    """(name, path, sampler or None) of "[NAME=]PATH[@SAMPLER]".

    Without a name, the last part of the path that says something serves as one.
    """
    found = _SAMPLER.fullmatch(text)
    path, sampler = found.groups() if found else (text, None)
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
    editor = load_flagged(args, path, mesh=parse_mesh(args.mesh))
    own = own or args.sampler
    texts = [own, *args.ambiguous_sampler]
    samplers = [choose_sampler(text, editor.sampler, args) for text in texts]
    if args.negative and not any(sampler.negative for sampler in samplers):
        override_sampler(samplers[0], negative=args.negative)  # says what is missing
    sampler, ambiguous = samplers[0], tuple(dict.fromkeys(samplers))
    return Contestant(name, path or "shipped weights", editor, sampler, ambiguous)


def choose_sampler(
    text: str | None, default: SamplerConfig, args: argparse.Namespace
) -> SamplerConfig:
    """A sampler by its short form, or the checkpoint's own, with the flags that it does
    not speak of; a negative text is for those with guidance."""
    default = override_sampler(default, shift=args.shift)
    sampler = default if text is None else parse_sampler(text, default)
    if args.negative is None or sampler.guidance == 1:
        return sampler
    if text is not None and ":negative=" in text:
        return sampler
    return override_sampler(sampler, negative=args.negative)


def parse_mesh(text: str | None) -> MeshConfig | None:
    """A mesh from "data=4,tensor=2"; by default all devices, None for a single one."""
    if text is None:
        return MeshConfig(data=None) if jax.device_count() > 1 else None
    sizes = {}
    for part in text.split(","):
        axis, _, size = part.partition("=")
        if axis not in AXES or not size.isdecimal() or axis in sizes:
            raise UserError(
                f"--mesh {text!r}: write AXIS=SIZE,.. of the axes {', '.join(AXES)}"
            )
        sizes[axis] = int(size)
    return MeshConfig(**sizes)


def parse_shapes(text: str | None) -> tuple[tuple[int, int], ...]:
    """(height, width) of each shape of "64x64,48x85"."""
    shapes = []
    for part in (text or "").split(",") if text is not None else ():
        sides = part.strip().split("x")
        if len(sides) != 2 or not all(side.isdecimal() for side in sides):
            raise UserError(f"--shapes {text!r}: write HEIGHTxWIDTH,.. in pixels")
        shapes.append((int(sides[0]), int(sides[1])))
    return tuple(dict.fromkeys(shapes))


def default_batch() -> int:
    """The toy is twice as fast on two cores with 8 sessions at a time as with 50."""
    return 8 if jax.default_backend() == "cpu" else 50


def make_settings(args: argparse.Namespace) -> Settings:
    """What is run; sprites and datasets have other defaults."""
    own = args.dataset is not None
    parts = None
    if args.parts is not None:
        parts = tuple(part.strip() for part in args.parts.split(",") if part.strip())
    settings = Settings(
        policies=parse_policies(args.policies),
        parts=parts,
        dataset=args.dataset,
        language=args.language,
        shapes=parse_shapes(args.shapes),
        sessions=200 if args.sessions is None and not own else args.sessions,
        turns=12 if args.turns is None and not own else args.turns,
        story_sessions=args.story_sessions,
        ambiguous_sessions=args.ambiguous_sessions,
        repetitions=args.repetitions,
        identity_sessions=args.identity_sessions,
        seed=args.seed,
        batch=default_batch() if args.batch is None else args.batch,
    )
    return check_parts(settings)


def load_extractors(specs: Sequence[str]) -> list[FeatureExtractor]:
    """All of them, each with a name of its own."""
    extractors = [load_extractor(spec) for spec in specs]
    check_names(extractors)
    return extractors


def make_judge(args: argparse.Namespace) -> JudgeConfig | None:
    """The judge that is asked for, if one is."""
    if not args.judge:
        return None
    judge = JudgeConfig(
        args.judge,
        args.judge_url,
        args.judge_key,
        timeout=args.judge_timeout,
        retries=args.judge_retries,
        answers=args.judge_tries,
        parallel=args.judge_parallel,
        image_side=args.judge_image_side,
        max_tokens=args.judge_tokens,
        temperature=args.judge_temperature,
        seed=args.judge_seed,
    )
    check_key(judge)
    return judge


def check_judged(report: Mapping[str, Any]) -> None:
    """Refuse an evaluation whose judge gave not one score.

    Raises:
      UserError: it has the reasons.
    """
    told = [entry for own in report["judge"].values() for entry in own.values()]
    turns = sum(entry["asked"] + entry["reused"] for entry in told)
    if turns and turns == sum(entry["unjudged"] for entry in told):
        why = "; ".join(
            dict.fromkeys(reason for entry in told for reason in entry["why"])
        )
        raise UserError(
            f"the judge scored none of {turns} turns ({why[:600]}); the report has all "
            "other measures"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate; wrong input ends in one line on stderr and exit code 2."""
    with exit_on_user_error():
        args = make_parser().parse_args(argv)
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
