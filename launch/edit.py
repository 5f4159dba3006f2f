"""Edit one image, turn after turn.

    python launch/edit.py --image cat.png --instruction "make the background blue" \\
        --instruction "add a red circle at the top left" --out result

Writes turn_00.png (the source as the model sees it) to turn_NN.png, contact_sheet.png
and session.json into the folder --out: all of it, or, when something is wrong, nothing.
Exit codes: 0 done, 2 wrong input.
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm  # noqa: E402

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.data.images import decode_image, fit_image  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402
from anchoredit_jax.memory.causal_memory import POSITIONS  # noqa: E402
from anchoredit_jax.session import Editor, EditSession, load_editor  # noqa: E402
from anchoredit_jax.session.result_folder import (  # noqa: E402
    check_target,
    describe_image,
    write_result,
)

FULL = "full"


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = _parse(argv)
        # Everything that can be wrong is found out before the first turn is computed.
        instructions = read_instructions(args.instruction, args.instructions)
        image = decode_image(args.image)
        origin = {"image": describe_image(args.image)}
        out = check_target(args.out)
        editor = load_editor(args.checkpoint, args.weights, max_turns=len(instructions))
        editor = with_flags(editor, args, len(instructions))
        editor.text.encode(instructions)
        pixels, crop = fit_image(image, editor.size)
        session = EditSession.from_pixels(editor, pixels, crop, args.seed)
        for instruction in tqdm(instructions, desc="edit", unit="turn", disable=None):
            session.edit(instruction)
        write_result(out, session, origin)
    turns = f"{len(instructions)} turn{'s' if len(instructions) > 1 else ''}"
    print(f"{turns} in {out}, all of them in contact_sheet.png")


def read_instructions(given: Sequence[str] | None, file: Path | None) -> list[str]:
    """The instructions of the flags or of a file with one a line.

    An empty one is the null instruction, an empty line of the file too.

    Raises:
      UserError: none at all, both kinds, or a file that cannot be read.
    """
    if given and file is not None:
        raise UserError("give --instruction or --instructions, not both")
    if file is None:
        if not given:
            raise UserError(
                "no instructions: give --instruction TEXT, once for each turn, or "
                "--instructions FILE with one a line"
            )
        return list(given)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--instructions {str(file)!r}: {error}") from error
    lines = [line.strip() for line in text.removesuffix("\n").split("\n")]
    if not text:
        raise UserError(f"--instructions {str(file)!r} is empty: write one a line")
    return lines


def with_flags(editor: Editor, args: argparse.Namespace, turns: int) -> Editor:
    """The editor with the settings of the flags; those not given stay as they are."""
    memory = {"sink": args.sink, "positions": args.positions}
    memory = {name: value for name, value in memory.items() if value is not None}
    if args.window is not None:
        memory["window"] = None if args.window == FULL else args.window
    sampler = {"kind": args.sampler, "steps": args.steps, "guidance": args.guidance}
    sampler = {name: value for name, value in sampler.items() if value is not None}
    if args.steps is not None:
        sampler["timesteps"] = None  # a trained list of steps has its own number
    return editor.with_settings(
        dataclasses.replace(editor.memory, **memory),
        dataclasses.replace(editor.sampler, **sampler),
        max_turns=turns,
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--image", required=True, metavar="FILE", help="the image to edit")
    add(
        "--instruction",
        action="append",
        metavar="TEXT",
        help='one turn; repeat it for more; "" keeps the image as it is',
    )
    add("--instructions", type=Path, metavar="FILE", help="one instruction a line")
    add("--out", required=True, metavar="DIR", help="folder for the result")
    add(
        "--checkpoint",
        metavar="PATH",
        help="weights file, stage folder or step folder (default: the shipped toy)",
    )
    add("--weights", choices=("ema", "params"), default="ema", help="default: ema")
    add("--seed", type=int, default=0, help="of the noise (default: 0)")
    settings = parser.add_argument_group(
        "settings (default: what the checkpoint was trained for)"
    )
    add = settings.add_argument
    add("--sink", type=int, help="how many first frames are kept for ever")
    add("--window", type=_window, help=f"how many recent frames are kept, or '{FULL}'")
    add("--positions", choices=POSITIONS, help="position policy of the memory")
    add("--sampler", choices=("few_step", "euler"), help="how a frame is drawn")
    add("--steps", type=int, help="steps per frame")
    add("--guidance", type=_finite, help="strength of the instruction; 1 is none")
    return parser.parse_args(argv)


def _window(text: str) -> int | str:
    if text == FULL:
        return FULL
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a whole number or '{FULL}', given {text!r}"
        ) from None


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, given {text!r}")
    return value


if __name__ == "__main__":
    main()
