"""A page to edit images on: python launch/app.py, then open the address it prints.

Open an image or a saved session, type instructions, go back to any turn, try it again
or branch from it, compare the result with the source, choose settings, see the drift,
download all of it. Several people, and several tabs, edit at once; one turn at a time
is made. Needs Gradio: pip install 'anchoredit_jax[app]'. The default weights are the
shipped toy's. An image may have 24 million pixels, a file 128 MiB, an instruction 4096
characters; a person keeps 200 turns. Temporary files are in a folder that nobody else
can read and that is removed at the end.
Exit codes: 0 done, 2 wrong input, 143 ended by SIGTERM.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.command_line.editing import (  # noqa: E402
    add_settings_flags,
    add_weights_flags,
)
from anchoredit_jax.command_line.programs import prepare_compiling  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402

LARGEST_FILE = 128 << 20  # bytes of an image or a saved session
MOST_PEOPLE = 64  # whose sessions are kept; the one that waited longest goes first
MOST_WAITING = 64  # for the one editor


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error(), contextlib.ExitStack() as stack:
        args = _parse(argv)
        prepare_compiling()
        from anchoredit_jax.session.flags import load_flagged, with_flags
        from anchoredit_jax.session.page_folder import page_folder

        signal.signal(signal.SIGTERM, _end)  # what is open is closed, and removed
        folder = stack.enter_context(page_folder())
        # Gradio's own default is one folder for all users of the machine.
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
        layout = page_layout()
        editor = load_flagged(args, args.checkpoint, max_turns=args.max_turns)
        editor = with_flags(editor, args, args.max_turns)
        zips = folder / "zips"
        zips.mkdir()
        page = layout.build_page(editor, zips)
        try:
            page.queue(max_size=MOST_WAITING).launch(
                server_name=args.host,
                server_port=args.port,
                root_path=args.root_path,
                max_file_size=LARGEST_FILE,
                app_kwargs={"exception_handlers": {LookupError: layout.refuse_request}},
                state_session_capacity=MOST_PEOPLE,
                **layout.page_look.LAUNCH,
            )
        except OSError as error:
            raise UserError(
                f"no page at {args.host}, port {args.port or 'any'}: {error}"
            ) from error


def _end(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


def page_layout() -> ModuleType:
    """The module that needs Gradio.

    Raises:
      UserError: Gradio is not installed.
    """
    try:
        from anchoredit_jax.session import page_layout
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError(
            "the page needs Gradio, which is not installed: "
            "pip install 'anchoredit_jax[app]'"
        ) from error
    return page_layout


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add(
        "--checkpoint",
        metavar="PATH",
        help="weights file, stage folder or step folder (default: the shipped toy)",
    )
    add_weights_flags(parser)
    add(
        "--max-turns",
        type=int,
        default=32,
        metavar="N",
        help="longest session of weights that keep their full history (default: 32)",
    )
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 for other machines too (default: this one)",
    )
    add("--port", type=int, help="default: the first free one from 7860")
    add(
        "--root-path",
        metavar="PATH",
        help="where a proxy that strips it shows the page, such as /editor, or its URL",
    )
    add_settings_flags(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
