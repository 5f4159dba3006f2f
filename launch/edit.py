"""Edit one image, or every image of a folder, turn after turn.

    python launch/edit.py --image cat.png --instruction "make the background blue" \\
        --instruction "add a red circle at the top left" --out result

Writes turn_00.png (the source as the model sees it) to turn_NN.png, contact_sheet.png
and session.json into the folder --out: all of it, or, when something is wrong, nothing.
An image is edited at the shape nearest to its own that the weights were trained at; a
line says which, and how much of the image is kept.

    python launch/edit.py --image photos/ --instructions turns.txt --out results

does the same for each image, into a folder of its own in --out; an image that cannot be
edited is named and the others are still done.

    python launch/edit.py --image cat.png --interactive --out result

takes a line at a time from the terminal, or from a pipe ("help" lists the commands).
Each turn is written at once, into a folder per branch: result/main/turn_01.png.

Exit codes: 0 done, 1 some of the images, or of the lines from a pipe, could not be
done, 2 wrong input and nothing was done.
"""

import argparse
import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm  # noqa: E402

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.data.images import decode_image  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402
from anchoredit_jax.session import Editor  # noqa: E402
from anchoredit_jax.session.branches import Branches  # noqa: E402
from anchoredit_jax.session.edit_session import OnStep  # noqa: E402
from anchoredit_jax.session.flags import (  # noqa: E402
    add_settings_flags,
    add_weights_flags,
    load_flagged,
    with_flags,
)
from anchoredit_jax.session.image_folder import edit_image, find_images  # noqa: E402
from anchoredit_jax.session.interactive import HELP, Prompt  # noqa: E402
from anchoredit_jax.session.result_folder import (  # noqa: E402
    check_branches_target,
    check_target,
    describe_image,
    write_result,
)
from anchoredit_jax.session.shapes import describe_crop  # noqa: E402
from anchoredit_jax.session.turns import check_seed  # noqa: E402

MAX_TURNS = 32  # of an interactive session with a full history


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = _parse(argv)
        # Everything that can be wrong is found out before the first turn is computed.
        check_seed(args.seed)
        if args.interactive:
            failed = edit_interactively(args)
        else:
            instructions = read_instructions(args.instruction, args.instructions)
            if Path(args.image).is_dir():
                failed = edit_folder(args, instructions)
            else:
                failed = edit_one(args, instructions)
    if failed:
        raise SystemExit(1)


def edit_one(args: argparse.Namespace, instructions: Sequence[str]) -> bool:
    """Edit one image; False says that nothing failed."""
    path = args.image
    image = decode_image(path)
    check_target(args.out)
    editor = prepare_editor(args, instructions)
    with step_bar(editor.steps * len(instructions), "edit", leave=True) as on_step:
        out = edit_image(
            editor, path, image, instructions, args.seed, args.out, tqdm.write, on_step
        )
    print(f"{_count(instructions, 'turn')} in {out}, all of them in contact_sheet.png")
    return False


def edit_folder(args: argparse.Namespace, instructions: Sequence[str]) -> bool:
    """Every image of a folder; whether some failed, which are named on stderr."""
    images = find_images(args.image)
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{str(out)!r} exists and is not a folder")
    editor = prepare_editor(args, instructions)
    failed = {}
    for name, path in tqdm(images.items(), "images", unit="image", disable=None):
        try:
            image = decode_image(path)
            with step_bar(editor.steps * len(instructions), name) as on_step:
                target = out / name
                edit_image(
                    editor, path, image, instructions, args.seed, target, tqdm.write,
                    on_step,
                )  # fmt: skip
        except UserError as error:
            failed[path] = error
            tqdm.write(f"error: {path.name}: {error}", file=sys.stderr)
    done = len(images) - len(failed)
    turns = _count(instructions, "turn")
    print(f"{done} of {_count(images, 'image')}, {turns} each, in {out}")
    if failed:
        names = ", ".join(path.name for path in failed)
        print(f"error: {len(failed)} not done: {names}", file=sys.stderr)
    return bool(failed)


def edit_interactively(args: argparse.Namespace) -> bool:
    """Lines from stdin; whether some from a pipe were refused."""
    if args.instruction or args.instructions is not None:
        raise UserError(
            "--interactive takes its instructions from stdin: give no others"
        )
    if Path(args.image).is_dir():
        raise UserError("--interactive edits one image, given a folder")
    image = decode_image(args.image)
    origin = {"image": describe_image(args.image)}
    out = check_branches_target(args.out)
    editor = prepare_editor(args, [""] * MAX_TURNS)
    session = editor.start(image, args.seed)
    print(f"{Path(args.image).name}: {describe_crop(session.crop)}")
    branches = Branches(session)
    typed = sys.stdin.isatty()
    if typed:
        print(HELP)
    bar = functools.partial(step_bar, description="edit")
    refused = Prompt(branches, out, print, bar).run(read_lines(typed))
    for name, session in branches:
        write_result(out / name, session, origin)
    print(f"{', '.join(branches.names)} in {out}, each with its contact_sheet.png")
    return bool(refused) and not typed


@contextlib.contextmanager
def step_bar(
    steps: int, description: str, leave: bool = False
) -> Iterator[OnStep | None]:
    """A bar on the terminal with a tick for every denoising step. Without a terminal
    there is none, and nothing waits for a step: None."""
    with tqdm(
        total=steps, desc=description, unit="step", disable=None, leave=leave
    ) as bar:
        yield None if bar.disable else lambda step, steps: bar.update()


def read_lines(typed: bool) -> Iterator[str]:
    """Lines of stdin to its end, with a prompt where they are typed."""
    while True:
        if typed:
            print("> ", end="", flush=True)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise UserError(f"stdin is not text: {error}") from error
        if not line:
            return
        yield line


def prepare_editor(args: argparse.Namespace, instructions: Sequence[str]) -> Editor:
    """The editor of the flags, which can take the instructions."""
    turns = len(instructions)
    editor = load_flagged(args, args.checkpoint, max_turns=turns)
    editor = with_flags(editor, args, turns)
    editor.text.encode([*instructions, editor.sampler.negative])
    return editor


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
                "no instructions: give --instruction TEXT, once for each turn, "
                "--instructions FILE with one a line, or --interactive"
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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("--image", required=True, metavar="PATH", help="an image, or a folder of them")
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
    add("--seed", type=int, default=0, help="of the noise (default: 0)")
    add_weights_flags(parser)
    add_settings_flags(parser)
    return parser.parse_args(argv)


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


if __name__ == "__main__":
    main()
