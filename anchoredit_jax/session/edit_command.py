"""What launch/edit.py does: one image, a folder, a session, or lines from a terminal.

Everything that can be wrong is found out before the first turn is computed.
"""

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path

from tqdm import tqdm

from anchoredit_jax.data.images import decode_image
from anchoredit_jax.errors import UserError
from anchoredit_jax.in_use import in_place_of
from anchoredit_jax.session.branches import Branches
from anchoredit_jax.session.edit_session import OnStep
from anchoredit_jax.session.flags import (
    open_session,
    prepare_editor,
    read_instructions,
)
from anchoredit_jax.session.image_folder import edit_image, edit_on, find_images
from anchoredit_jax.session.interactive import HELP, Prompt
from anchoredit_jax.session.result_folder import (
    check_branches_target,
    check_place,
    check_target,
    describe_image,
    write_result,
)
from anchoredit_jax.session.turns import check_seed

MAX_TURNS = 32  # of an interactive session with a full history


def run(args: argparse.Namespace) -> bool:
    """Do what the flags ask for; whether some of it failed.

    Raises:
      UserError: they do not fit each other, or what they name cannot be used.
    """
    check_seed(args.seed or 0)
    if args.interactive:
        return edit_interactively(args)
    instructions = read_instructions(args.instruction, args.instructions)
    if args.session is not None:
        return go_on(args, instructions)
    if os.path.isdir(args.image):
        return edit_folder(args, instructions)
    return edit_one(args, instructions)


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
    print(f"{Path(args.session).name}: {session.crop.describe()}")
    with in_place_of(args.out), step_bar(steps, "edit", leave=True) as on_step:
        out = edit_on(session, instructions, args.out, origin, on_step)
    print(f"{_count(instructions, 'turn')} more in {out}, all in contact_sheet.png")
    return False


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
    print(f"{Path(args.image or args.session).name}: {session.crop.describe()}")
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


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
