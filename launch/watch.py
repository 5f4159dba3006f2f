"""A page on a run, for every morning: curves, samples, speed, settings, lineage.

    python launch/watch.py --workdir W                       # writes W/watch.html
    python launch/watch.py --workdir W --workdir V --out page.html   # side by side
    python launch/watch.py --workdir W --serve 8080          # anew at every reload

The page needs no network. Training may go on meanwhile: only files are read, and no
accelerator is touched. docs/watch.md says what the curves mean.
Exit codes: 0 done, 2 wrong input.
"""

import argparse
import contextlib
import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # a run beside this has the accelerator
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = _parse(argv)
        if args.serve is not None:
            _serve(args)
            return
        from anchoredit_jax import files
        from anchoredit_jax.watching.page import SHEETS, build_page
        from anchoredit_jax.watching.reading import read_workdirs
        from anchoredit_jax.web_page import is_our_page

        out = args.out or args.workdir[0] / "watch.html"
        if out.is_dir():
            raise UserError(f"--out {str(out)!r} is a folder: name a file in it")
        advice = "name another file with --out"
        files.check_replaceable(out, is_our_page, "a page of this command", advice)
        sheets = SHEETS if args.sheets is None else args.sheets
        now = datetime.datetime.now().astimezone()
        files.write_text(out, build_page(read_workdirs(args.workdir), now, sheets))
        print(f"written: {out}")


def _serve(args: argparse.Namespace) -> None:
    from anchoredit_jax.watching.server import open_server

    server = open_server(args.workdir, args.host, args.serve, args.sheets)
    print(f"open http://{args.host}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add(
        "--workdir",
        required=True,
        type=Path,
        action="append",
        help="folder of all stages; a second one is compared with the first",
    )
    add("--out", type=Path, help="the page's file (default: watch.html in the workdir)")
    add("--serve", type=_port, metavar="PORT", help="serve the page; 0: any free port")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 for other machines too (default: this one)",
    )
    add(
        "--sheets",
        type=_count,
        metavar="N",
        help="sample sheets in the page at most, evenly spaced, with the latest "
        "(default: 12; all where it is served)",
    )
    args = parser.parse_args(argv)
    if args.serve is not None and args.out is not None:
        raise UserError("--out writes a file and --serve none: give one of them")
    return args


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of sheets, 1 or more")
    return int(text)


if __name__ == "__main__":
    main()
