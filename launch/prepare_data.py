"""Editing sessions of images, ready to train on.

    python launch/prepare_data.py --source sessions/ --out prepared
    python launch/prepare_data.py --source shards.json --out prepared --languages en,zh
    python launch/prepare_data.py --source data/ --inspect sheet.png   # writes no more
    python launch/prepare_data.py --cache features --config C.py     # for all stages
    python launch/prepare_data.py --pack shards/ --source sessions/  # back to tar files

A source is a folder of `<id>/<id>.0.jpg, <id>.1.jpg, .., <id>.json`, a folder of tar
shards, one shard, a JSON file {"resolved_files": [..]}, or tables: parquet files, JSON
lines, or tar shards of pairs (docs/datasets.md). Interrupted, the same
command goes on with missing parts; of a source that changed, what changed is read
again. What is dropped is named, with the reason. A cache
holds latents of all images and embeddings of all instructions.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm  # noqa: E402

from anchoredit_jax.choices import FORMATS, LINKS, NEAR, ON_GAP  # noqa: E402
from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402
from anchoredit_jax.files import write_bytes  # noqa: E402

if TYPE_CHECKING:
    from anchoredit_jax.data.prepared import Filters
    from anchoredit_jax.data.sessions import Reading


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--source", help="folder, file, pattern, or list of shards")
    parser.add_argument(
        "--format",
        default="auto",
        choices=("auto", *FORMATS),
        help="of the source; found by looking, and told",
    )
    parser.add_argument(
        "--columns",
        default="",
        help="of tables whose columns have other names: source=before,target=after",
    )
    parser.add_argument(
        "--on-gap",
        default="split",
        choices=ON_GAP,
        help="what to do where a turn's source in a table is not the image before it",
    )
    parser.add_argument(
        "--min-quality", default="", help="of tables: rows with less go; score=7,.."
    )
    parser.add_argument("--out", help="folder of the prepared sessions")
    parser.add_argument("--languages", default="en", help="en,zh: those to keep")
    parser.add_argument(
        "--processes", type=int, default=1, help="that prepare parts side by side"
    )
    parser.add_argument(
        "--max-bad", type=int, default=1000, help="bad records that are put up with"
    )
    parser.add_argument(
        "--links",
        default="follow",
        choices=LINKS,
        help="symbolic links in folders of sessions; refuse them on shared machines",
    )
    _add_filters(parser)
    parser.add_argument("--cache", help="folder for features, instead of preparing")
    parser.add_argument(
        "--config",
        help="of --cache: any stage; whose codec, text, sizes. Of preparing: leave out "
        "what its text encoder refuses",
    )
    parser.add_argument("--dtype", default="bfloat16", help="of --cache, or float16")
    parser.add_argument(
        "--process", default="0/1", help="of --cache: this one's number of so many"
    )
    parser.add_argument(
        "--inspect",
        metavar="SHEET.png",
        help="tell what the source holds and draw a dozen sessions, nothing else",
    )
    parser.add_argument("--pack", help="folder for tar shards, instead of preparing")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    with exit_on_user_error():
        args = parser.parse_args(argv)
        languages = tuple(name for name in args.languages.split(",") if name)
        if args.inspect:
            _inspect(args)
        elif args.cache:
            _cache(args)
        elif args.pack:
            _pack(args, languages)
        else:
            _prepare(args, languages)


def _add_filters(parser: Parser) -> None:
    """What is left out; where no flag is given, `Filters` says."""
    add = parser.add_argument
    add(
        "--min-change",
        type=float,
        help="sessions with a turn that changes no more than this share of the image "
        "go; 0: that changes nothing (default: they stay)",
    )
    add(
        "--max-change",
        type=float,
        help="and those with a turn that changes more than this share (default: 1)",
    )
    add("--min-side", type=int, help="of images, in pixels (default: any)")
    add(
        "--max-aspect",
        type=float,
        help="of images, the longer side over the shorter (default: the largest that "
        "can be read)",
    )
    add(
        "--near-duplicates",
        choices=NEAR,
        help="sessions go whose source (images), or source and last image (sessions), "
        "an earlier one nearly has (default: keep)",
    )
    add(
        "--long-texts",
        default="keep",
        choices=("keep", "drop"),
        help="instructions of which the text encoder of --config, if it is UMT5, reads "
        "the beginning alone",
    )


def _inspect(args) -> None:
    from anchoredit_jax.data.sessions import inspect

    sheet = Path(args.inspect)
    if not args.source or sheet.suffix.lower() != ".png":
        raise UserError("--inspect: expected a new file SHEET.png, and --source")
    if sheet.exists():
        raise UserError(f"{str(sheet)!r} is there already: name a new file")
    with _bar(args.quiet) as (_, progress):
        found, drawn = inspect(
            args.source, _reading(args), args.links, progress=progress
        )
    write_bytes(sheet, drawn)
    print(found.describe())
    print(f"a dozen of them in {sheet}")


def _prepare(args, languages) -> None:
    from anchoredit_jax.data.prepared import prepare

    if not (args.source and args.out):
        raise UserError("expected --source and --out (see --help)")
    filters = _filters(args)
    with _bar(args.quiet) as (bar, progress):
        report = prepare(
            args.source, args.out, languages=languages, processes=args.processes,
            max_bad=args.max_bad, links=args.links, filters=filters,
            reading=_reading(args), progress=progress,
        )  # fmt: skip
        del bar
    print(report.describe())


def _cache(args) -> None:
    from anchoredit_jax.config import load_config
    from anchoredit_jax.data.feature_cache import build_cache, describe_cut
    from anchoredit_jax.data.prepared import PreparedSessions
    from anchoredit_jax.data.session_batches import group_prepared
    from anchoredit_jax.encoders import make_codec, make_text_encoder

    if not args.config:
        raise UserError("--cache needs --config: whose codec, text encoder and buckets")
    run = load_config(args.config)
    if run.data.kind != "sessions":
        raise UserError(
            f"--cache is of prepared sessions; {args.config} has data.kind "
            f"{run.data.kind!r}"
        )
    codec, text = make_codec(run.codec), make_text_encoder(run.text)
    sessions = PreparedSessions(run.data.sessions.path)
    groups = group_prepared(sessions, run.data, codec.stride, run.model.patch)
    with _bar(args.quiet) as (_, progress):
        folder = build_cache(
            args.cache, sessions, groups, codec, text,
            dtype=args.dtype, process=_process(args.process), progress=progress,
        )  # fmt: skip
    print(f"features of {len(sessions)} sessions in {folder}")
    if cut := describe_cut(folder):
        print(cut)


def _pack(args, languages) -> None:
    from anchoredit_jax.data.sessions import pack_sessions

    if not args.source:
        raise UserError("--pack needs --source: sessions to write as tar shards")
    dropped = []
    shards = pack_sessions(
        args.source, args.pack, languages=languages, links=args.links,
        on_drop=dropped.append, reading=_reading(args),
    )  # fmt: skip
    for left in dropped:
        print(f"left out: {left.key}: {left.reason}: {left.detail}", file=sys.stderr)
    print(f"{len(shards)} shards in {args.pack}; {len(dropped)} records left out")


def _filters(args) -> "Filters":
    from anchoredit_jax.data.prepared import Filters

    given = {
        "min_change": args.min_change,
        "max_change": args.max_change,
        "min_side": args.min_side,
        "max_aspect": args.max_aspect,
        "near": args.near_duplicates,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    text = None
    if args.config is not None:  # JAX comes with it
        from anchoredit_jax.config import load_config

        text = load_config(args.config).text
    if text is not None and text.kind == "ngram":
        settings["words"] = text.length
    if args.long_texts == "drop":
        if text is None:
            raise UserError("--long-texts drop needs --config: whose text encoder")
        if text.umt5 is not None:
            from anchoredit_jax.convert.umt5_folder import tokenizer_folder

            folder = tokenizer_folder(Path(text.umt5.folder))
            settings.update(tokens=text.length, tokenizer=str(folder))
    return Filters(**settings)


def _reading(args) -> "Reading":
    from anchoredit_jax.data.sessions import Reading, parse_columns

    quality = []
    for entry in filter(None, args.min_quality.split(",")):
        column, _, least = entry.partition("=")
        try:
            quality.append((column.strip(), float(least)))
        except ValueError as error:
            raise UserError(
                f"--min-quality: expected such as score=7, given {entry!r}"
            ) from error
    columns = parse_columns(args.columns)
    return Reading(args.format, columns, args.on_gap, tuple(quality))


def _process(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UserError(f"--process: expected such as 0/4, given {text!r}")
    return int(index), int(count)


class _bar:
    """A bar over parts: (bar, progress) while it is open."""

    def __init__(self, quiet: bool):
        self._bar = tqdm(unit="part", disable=quiet, leave=False, delay=0.5)

    def __enter__(self):
        return self._bar, self._progress

    def _progress(self, done: int, parts: int) -> None:
        self._bar.total = parts
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_) -> None:
        self._bar.close()


if __name__ == "__main__":
    main()
