"""Weights in and out.

    python launch/convert.py import --src Wan2.1-T2V-1.3B --out W
    python launch/convert.py export --checkpoint W --dialect diffusers --out folder
    python launch/convert.py export --checkpoint W/single_turn --step 500 ...
    python launch/convert.py inspect PATH [--check]
    python launch/convert.py verify A B

An import without --config finds out what the weights are by their shapes, and what they
edit with by that; whatever no file says is printed, and `inspect` repeats it.

Dialects: wan (the original files), diffusers (a folder for `from_pretrained`),
anchoredit (training checkpoints of the reference). Exit codes: 0 done, 1 the two of
`verify` differ, 2 wrong input.
"""

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm  # noqa: E402

from anchoredit_jax.choices import DIALECTS  # noqa: E402
from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = _parser().parse_args(argv)
        args.run(args)


def run_import(args) -> None:
    from anchoredit_jax.checkpoint.assets import with_step
    from anchoredit_jax.config import load_config
    from anchoredit_jax.convert import import_kinds, open_weights

    src = with_step(args.src, args.step)
    source = open_weights(src, args.dialect, args.weights, args.network, args.expert)
    run = load_config(args.config) if args.config else None
    sources = {source.weights: source}
    theirs = source.dialect == "anchoredit" and args.weights is None
    if theirs and not args.out.endswith(".safetensors"):
        for kind in source.kinds:
            sources.setdefault(kind, open_weights(src, args.dialect, kind))
    size = sum(one.nbytes for one in sources.values())
    with _bar(size, "import", args.quiet) as progress:
        out = import_kinds(
            sources, args.out, dtype=args.dtype, stage=args.stage, run=run,
            vae=args.vae, text=args.text, progress=progress,
        )  # fmt: skip
    left = [kind for kind in source.kinds if kind not in sources]
    if theirs and left:
        print(f"not imported: {', '.join(left)} (a folder as --out takes all)")
    for line in open_weights(out).assumptions:
        print(f"assumed: {line}")
    print(f"{source.network.name}, {source.dialect} names, to {out}")


def run_export(args) -> None:
    from anchoredit_jax.checkpoint.assets import with_step
    from anchoredit_jax.convert import export_pipeline, export_weights, open_weights

    checkpoint = with_step(args.checkpoint, args.step)
    source = open_weights(checkpoint, None, args.weights, args.network, args.expert)
    sources = {source.weights or "live": source}
    if args.dialect == "anchoredit" and args.weights is None:
        for kind in source.kinds:
            sources.setdefault(kind, open_weights(checkpoint, None, kind))
    size, shard_size = sum(s.nbytes for s in sources.values()), _bytes(args.shard_size)
    with _bar(size, "export", args.quiet) as progress:
        options: dict[str, Any] = dict(
            dtype=args.dtype, shard_size=shard_size, allow_loss=args.allow_loss,
            progress=progress,
        )  # fmt: skip
        if args.pipeline and args.dialect != "diffusers":
            raise UserError("--pipeline is of --dialect diffusers")
        if args.pipeline:
            out = export_pipeline(source, args.out, **options)
        else:
            out = export_weights(sources, args.dialect, args.out, **options)
    print(f"{source.network.name}, {args.dialect} names, to {out}")
    if args.dialect == "anchoredit":
        print(_told_of_states(sources))


def run_inspect(args) -> None:
    from anchoredit_jax.checkpoint.assets import with_step
    from anchoredit_jax.convert import check, describe, open_weights

    path = with_step(args.path, args.step)
    source = open_weights(path, None, args.weights, args.network, args.expert)
    print(describe(source))
    if args.check:
        print(check(source))


def run_verify(args) -> None:
    from anchoredit_jax.convert import compare_weights, open_weights

    first, second = (
        open_weights(path, None, args.weights, args.network, args.expert)
        for path in (args.first, args.second)
    )
    with _bar(first.nbytes, "verify", args.quiet) as progress:
        comparison = compare_weights(first, second, progress)
    print(comparison.describe())
    if not comparison.equal:
        raise SystemExit(1)


def _told_of_states(sources: Collection[str]) -> str:
    """What the loaders of the reference make of a checkpoint."""
    if "ema" not in sources:
        return f"'generator' holds the {next(iter(sources))} weights"
    if "live" not in sources:
        return "'generator' and 'generator_ema' both hold the average"
    return (
        "'generator' holds the weights as trained, 'generator_ema' the average: "
        "loaders of the reference take the average with --use_ema only (or export "
        "with --weights ema)"
    )


@contextlib.contextmanager
def _bar(size: int, what: str, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Progress in bytes, with the time left."""
    with tqdm(
        total=size, desc=what, unit="B", unit_scale=True, disable=quiet, leave=False,
        delay=0.5,
    ) as bar:  # fmt: skip
        yield bar.update


def _bytes(text: str) -> int:
    number = text.upper().removesuffix("B")
    unit = number[-1:] if number[-1:] in UNITS else ""
    try:
        return int(float(number.removesuffix(unit)) * UNITS[unit])
    except ValueError as error:
        raise UserError(
            f"--shard-size: expected such as 5GB, given {text!r}"
        ) from error


def _parser() -> Parser:
    parser = Parser(__doc__)
    commands = parser.add_subparsers(required=True, parser_class=Parser)

    def command(name: str, run: Callable, about: str):
        one = commands.add_parser(name, description=about)
        one.set_defaults(run=run)
        one.add_argument(
            "--weights", choices=("ema", "live", "critic"), help="of several"
        )
        one.add_argument(
            "--network",
            choices=("transformer", "vae", "umt5"),
            help="of a folder that holds several",
        )
        one.add_argument(
            "--expert",
            choices=("high", "low"),
            help="of a folder with a transformer for high and one for low noise",
        )
        if run is not run_verify:
            one.add_argument(
                "--step", type=int, help="of a training run's checkpoints; the last one"
            )
        one.add_argument("--quiet", action="store_true", help="no progress bar")
        return one

    dtypes = dict(choices=("float32", "bfloat16"), help="default: as they are")
    one = command("import", run_import, "Published weights to a file of ours.")
    one.add_argument("--src", required=True, help="file or folder")
    one.add_argument("--out", required=True, help="folder or *.safetensors file")
    one.add_argument("--dialect", choices=DIALECTS, help="refuse any other")
    one.add_argument("--dtype", **dtypes)
    one.add_argument("--config", help="configuration to store with a transformer")
    one.add_argument("--vae", help="its Wan VAE; default: the one beside it")
    one.add_argument("--text", help="folder of its UMT5; default: the one beside it")
    one.add_argument("--stage", help="stage whose result they are; default: imported")
    one = command("export", run_export, "Weights of ours, or any, to published files.")
    one.add_argument("--checkpoint", required=True, help="file, folder or workdir")
    one.add_argument("--dialect", choices=DIALECTS, required=True)
    one.add_argument("--out", required=True, help="folder, *.safetensors or *.pth file")
    one.add_argument("--dtype", **dtypes)
    one.add_argument(
        "--pipeline",
        action="store_true",
        help="with VAE, text encoder, tokenizer and scheduler, for DiffusionPipeline",
    )
    one.add_argument(
        "--allow-loss",
        action="store_true",
        help="write settings that the dialect cannot hold into a README.md only",
    )
    one.add_argument(
        "--shard-size", default="5GB", help="of a folder's files (default: 5GB)"
    )
    one = command("inspect", run_inspect, "What a path holds.")
    one.add_argument("path", help="weights: a file, or a folder of any kind")
    one.add_argument(
        "--check", action="store_true", help="read all and compare with its digests"
    )
    one = command("verify", run_verify, "Whether two sets of weights are the same.")
    one.add_argument("first", help="weights: a file, or a folder of any kind")
    one.add_argument("second", help="those that they are compared with")
    return parser


if __name__ == "__main__":
    main()
