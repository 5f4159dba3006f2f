"""Build a benchmark of long sessions out of images and lists of instructions.

    python launch/build_benchmark.py --images photos --out benchmark

takes photos/cat.jpg with photos/cat.txt (or cat.json) beside it, an instruction a line:

    # what the coat was like comes back in turn 4
    [local] make the coat red
    [global] make it a rainy night
    add a straw hat
    [return 1] undo the hat and the rain
    [undo] undo the last change
    [null]

[return 1] says that the right answer is the image after turn 1 (0: the source), [undo]
that it is the one before the last turn; [null] keeps the image as it is. One file can
serve for all images: a list, or a JSON object {image's name: list}.

    python launch/build_benchmark.py --images photos --instructions all.json --out bench

    # 10 to 20 turns for each image, drawn out of a pool of [local] and [global] edits,
    # [undo], [return 0] and [return any]
    python launch/build_benchmark.py --images photos --pool pool.txt --out bench

Everything is checked first, and all that is wrong is named at once. The folder --out
appears whole, with a manifest benchmark.json, or not at all.

Exit codes: 0 done, 2 wrong input and nothing was written.
"""

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm  # noqa: E402

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import (  # noqa: E402
    ProblemsError,
    UserError,
    exit_on_user_error,
)


def main(argv: Sequence[str] | None = None) -> None:
    """Build; all problems go to stderr, one a line, and then their number."""
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--images", required=True, type=Path, metavar="DIR", help="folder of images")
    add("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    lists = parser.add_mutually_exclusive_group()
    lists.add_argument("--instructions", type=Path, metavar="FILE", help="for all")
    lists.add_argument("--pool", type=Path, metavar="FILE", help="to draw lists from")
    add(
        "--turns",
        metavar="FEWEST:MOST",
        help="of a session (default: 10:20)",
    )
    add(
        "--min-side",
        type=int,
        metavar="PIXELS",
        help="of an image's shorter side, at least (default: 1024)",
    )
    add("--language", help="of plain texts (default: en)")
    add("--seed", type=int, help="of --pool (default: 0)")
    add("--quiet", action="store_true", help="no progress bar")
    with exit_on_user_error():
        args = parser.parse_args(argv)
        from benchmarks.session_builder.build import build_benchmark
        from benchmarks.session_builder.settings import BenchmarkSettings

        if args.seed is not None and args.pool is None:
            raise UserError("--seed is of the draws from a --pool, given none")
        if args.turns is not None:
            args.turns = parse_turns(args.turns)
        given = {
            name: getattr(args, name)
            for name in ("min_side", "turns", "language", "seed")
            if getattr(args, name) is not None
        }
        settings = BenchmarkSettings(**given)
        bar = functools.partial(
            tqdm, desc="images", unit="image", disable=args.quiet or None, leave=False
        )
        try:
            manifest = build_benchmark(
                args.images, args.out, settings, args.instructions, args.pool, bar
            )
        except ProblemsError as error:
            print(*error.problems, sep="\n", file=sys.stderr)
            raise
    print(describe(manifest, args.out))


def parse_turns(text: str) -> tuple[int, int]:
    """(fewest, most) of "10:20", or of "12" for both."""
    fewest, colon, most = text.partition(":")
    most = most if colon else fewest
    if not (fewest.isdecimal() and most.isdecimal()):
        raise UserError(f"--turns: expected such as 10:20, given {text!r}")
    return int(fewest), int(most)


def describe(manifest: dict, out: Path) -> str:
    """What was built, in a line."""
    scopes = manifest["scopes"]
    return (
        f"{manifest['sessions']} sessions of {manifest['turns']} turns in all "
        f"({scopes['local']} local, {scopes['global']} global, "
        f"{manifest['returns']} returns) in {out}"
    )


if __name__ == "__main__":
    main()
