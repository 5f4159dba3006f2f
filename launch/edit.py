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
import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm  # noqa: E402

from anchoredit_jax.command_line import Parser  # noqa: E402
from anchoredit_jax.data.images import decode_image  # noqa: E402
from anchoredit_jax.errors import UserError, exit_on_user_error  # noqa: E402
from anchoredit_jax.in_use import in_place_of  # noqa: E402
from anchoredit_jax.session import Editor, EditSession, session_file  # noqa: E402
from anchoredit_jax.session.branches import Branches  # noqa: E402
from anchoredit_jax.session.edit_session import OnStep  # noqa: E402
from anchoredit_jax.session.flags import (  # noqa: E402
    add_settings_flags,
    add_weights_flags,
    load_flagged,
    with_flags,
)
from anchoredit_jax.session.image_folder import (  # noqa: E402
    edit_image,
    edit_on,
    find_images,
)
from anchoredit_jax.session.interactive import HELP, Prompt  # noqa: E402
from anchoredit_jax.session.result_folder import (  # noqa: E402
    check_branches_target,
    check_place,
    check_target,
    describe_image,
    write_result,
)
from anchoredit_jax.session.shapes import describe_crop  # noqa: E402
from anchoredit_jax.session.turns import check_instructions, check_seed  # noqa: E402

_LARGEST = 1 << 24  # bytes of a file of instructions
MAX_TURNS = 32  # of an interactive session with a full history


def main(argv: Sequence[str] | None = None) -> None:
    with exit_on_user_error():
        args = _parse(argv)
        # Everything that can be wrong is found out before the first turn is computed.
        check_seed(args.seed or 0)
        if args.interactive:
            failed = edit_interactively(args)
        else:
            instructions = read_instructions(args.instruction, args.instructions)
            if args.session is not None:
                failed = go_on(args, instructions)
            elif os.path.isdir(args.image):
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
    with (
        in_place_of(args.out),
        step_bar(editor.steps * len(instructions), "edit", leave=True) as on_step,
    ):
        out = edit_image(
            editor, path, image, instructions, args.seed or 0, args.out, tqdm.write,
            on_step,
        )  # fmt: skip
    print(f"{_count(instructions, 'turn')} in {out}, all of them in contact_sheet.png")
    return False


def go_on(args: argparse.Namespace, instructions: Sequence[str]) -> bool:
    """Edit a saved session further; False says that nothing failed."""
    check_target(args.out)
    session = open_session(args, instructions)
    steps = session.editor.steps * len(instructions)
    origin = {"session": args.session}
    with in_place_of(args.out), step_bar(steps, "edit", leave=True) as on_step:
        out = edit_on(session, instructions, args.out, origin, on_step)
    print(f"{_count(instructions, 'turn')} more in {out}, all in contact_sheet.png")
    return False


def open_session(args: argparse.Namespace, instructions: Sequence[str]) -> EditSession:
    """The session of --session, which can take so many turns more."""
    saved = session_file.read(args.session)  # before the weights, which take minutes
    record = saved.record
    own = ("sink", "window", "positions", "sampler", "steps", "guidance", "shift")
    for name in (*own, "negative", "size"):
        if getattr(args, name) is not None:
            raise UserError(
                f"--{name}: a session has settings of its own: leave it out"
            )
    turns = len(record.turns) + len(instructions)
    if record.memory.window is None and record.max_turns is not None:
        turns = max(turns, record.max_turns)
        record = dataclasses.replace(record, max_turns=turns)
        saved = dataclasses.replace(saved, record=record)
    args.weights = record.checkpoint.weights
    path = args.checkpoint or record.checkpoint.path
    editor = load_flagged(args, path, max_turns=turns)
    editor = session_file.find_editor(args.session, saved, editor)
    check_instructions(editor, instructions)
    session = EditSession.from_saved(editor, saved)
    if args.seed is not None:
        session.seed = args.seed
    return session


def edit_folder(args: argparse.Namespace, instructions: Sequence[str]) -> bool:
    """Every image of a folder; whether some failed, which are named on stderr."""
    images = find_images(args.image)
    out = check_place(args.out)
    with in_place_of(out):
        return _edit_images(args, instructions, images, out)


def _edit_images(
    args: argparse.Namespace,
    instructions: Sequence[str],
    images: Mapping[str, Path],
    out: Path,
) -> bool:
    editor = prepare_editor(args, instructions)
    failed = {}
    for name, path in tqdm(images.items(), "images", unit="image", disable=None):
        try:
            image = decode_image(path)
            with step_bar(editor.steps * len(instructions), name) as on_step:
                target = out / name
                edit_image(
                    editor, path, image, instructions, args.seed or 0, target,
                    tqdm.write, on_step,
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
    out = check_branches_target(args.out)
    if args.session is not None:
        origin = {"session": args.session}
        session = open_session(args, [""] * MAX_TURNS)
    elif os.path.isdir(args.image):
        raise UserError("--interactive edits one image, given a folder")
    else:
        image = decode_image(args.image)
        origin = {"image": describe_image(args.image)}
        editor = prepare_editor(args, [""] * MAX_TURNS)
        session = editor.start(image, args.seed or 0)
    print(f"{Path(args.image or args.session).name}: {describe_crop(session.crop)}")
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
    check_instructions(editor, instructions)
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
        if file.stat().st_size > _LARGEST:
            raise UserError(
                f"--instructions {str(file)!r} has {file.stat().st_size} bytes, at "
                f"most {_LARGEST} are read: expected a text, one instruction a line"
            )
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


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


if __name__ == "__main__":
    main()
