"""Edit one image, or every image of a folder, turn after turn.

    python launch/edit.py --image cat.png --instruction "make the background blue" \\
        --instruction "add a red circle at the top left" --out result

Writes turn_00.png (the source as the model sees it) to turn_NN.png, contact_sheet.png,
session.json and session.safetensors into the folder --out. What can be wrong is found
before the first turn, and each picture is written as soon as it is made: until all is
there, the folder is called OUT.unfinished. An image is edited at the shape nearest to
its own that the weights were trained at; a line says which, and how much is kept.

    python launch/edit.py --image photos/ --instructions turns.txt --out results

does the same for each image, into a folder of its own in --out; an image that cannot be
edited is named and the others are still done.

    python launch/edit.py --image cat.png --interactive --out result

takes a line at a time from the terminal, or from a pipe ("help" lists the commands).
Each turn is written at once, into a folder per branch: result/main/turn_01.png.

    python launch/edit.py --session result --instruction "add a hat" --out further

goes on with a saved session: the folder of a result, or a session file (from the page,
or "save" in --interactive). Its weights and settings are its own.

Exit codes: 0 done, 1 some of the images, or of the lines from a pipe, could not be
done, or the disk refused, 2 wrong input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.command_line.editing import (  # noqa: E402
    add_settings_flags,
    add_weights_flags,
)
from anchoredit_jax.command_line.programs import prepare_compiling  # noqa: E402
from anchoredit_jax.errors import exit_on_user_error  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = _parse(argv)
        prepare_compiling()
        from anchoredit_jax.session import edit_command

        failed = edit_command.run(args)
    if failed:
        raise SystemExit(1)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", metavar="PATH", help="an image, or a folder of them")
    what.add_argument("--session", metavar="PATH", help="a saved session, to go on")
    add(
        "--instruction",
        action="append",
        metavar="TEXT",
        help='one turn; repeat it for more; "" keeps the image as it is',
    )
    add("--instructions", type=Path, metavar="FILE", help="one instruction a line")
    add("--interactive", action="store_true", help="instructions from stdin")
    add("--out", required=True, metavar="DIR", help="folder for the result")
    add(
        "--checkpoint",
        metavar="PATH",
        help="weights file, stage folder or step folder (default: the shipped toy)",
    )
    add("--seed", type=int, help="of the noise (default: 0, or the session's)")
    add_weights_flags(parser)
    add_settings_flags(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
