"""A page to edit images on: python launch/app.py, then open the address it prints.

Upload an image or a saved session, type instructions, go back to any turn or branch
from it, see where and how much the result differs from the source, download all of it.
Needs Gradio: pip install 'anchoredit_jax[app]'. The default weights are the shipped
toy's. Exit codes: 0 done, 2 wrong input.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402
from anchoredit_jax.session.flags import (  # noqa: E402
    add_settings_flags,
    add_weights_flags,
    load_flagged,
    with_flags,
)


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error(), contextlib.ExitStack() as stack:
        args = _parse(argv)
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(
                prefix="anchoredit_", ignore_cleanup_errors=True
            )
        )
        # Gradio's own default is one folder for all users of the machine.
        os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(folder) / "gradio"))
        layout = page_layout()
        editor = load_flagged(args, args.checkpoint, max_turns=args.max_turns)
        editor = with_flags(editor, args, args.max_turns)
        zips = Path(folder) / "zips"
        zips.mkdir()
        page = layout.build_page(editor, zips)
        try:
            page.launch(
                server_name=args.host, server_port=args.port, root_path=args.root_path
            )
        except OSError as error:
            raise UserError(
                f"no page at {args.host}, port {args.port or 'any'}: {error}"
            ) from error


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
