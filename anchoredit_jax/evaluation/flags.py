"""What the flags of launch/evaluate.py ask for: contestants, settings, a judge."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from anchoredit_jax.diffusion.sampler_text import parse_sampler
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge import JudgeConfig, check_key
from anchoredit_jax.evaluation.measures import (
    FeatureExtractor,
    check_names,
    load_extractor,
)
from anchoredit_jax.evaluation.parts import check_parts
from anchoredit_jax.evaluation.policies import DEFAULT_POLICIES, parse_policies
from anchoredit_jax.evaluation.settings import Contestant, Settings
from anchoredit_jax.parallel import AXES, MeshConfig
from anchoredit_jax.session.flags import load_flagged
from anchoredit_jax.session.overrides import override_sampler

_SAMPLER = re.compile(r"(.*)@((?:few_step|euler)(?::.*)?)")
_SILENT = re.compile(r"\d+|checkpoints|model\.safetensors|[./]+")
_JUDGE = {
    "judge_url": "base_url",
    "judge_key": "api_key_env",
    "judge_timeout": "timeout",
    "judge_retries": "retries",
    "judge_tries": "answers",
    "judge_parallel": "parallel",
    "judge_image_side": "image_side",
    "judge_tokens": "max_tokens",
    "judge_temperature": "temperature",
    "judge_seed": "seed",
}


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
    policies = args.policies
    if policies is None:
        policies = ",".join(DEFAULT_POLICIES)
    parts = None
    if args.parts is not None:
        parts = tuple(part.strip() for part in args.parts.split(",") if part.strip())
    settings = Settings(
        policies=parse_policies(policies),
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
    given = {
        field: getattr(args, flag)
        for flag, field in _JUDGE.items()
        if hasattr(args, flag)
    }
    judge = JudgeConfig(args.judge, **given)
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
