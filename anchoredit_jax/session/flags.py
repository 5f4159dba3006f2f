"""Editors, sessions and instructions of flags; `command_line.editing` adds those."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anchoredit_jax.command_line.editing import FULL
from anchoredit_jax.errors import UserError
from anchoredit_jax.session import session_file
from anchoredit_jax.session.edit_session import EditSession
from anchoredit_jax.session.editor import Editor, load_editor
from anchoredit_jax.session.overrides import override_sampler
from anchoredit_jax.session.shapes import read_size
from anchoredit_jax.session.turns import check_instructions

_LARGEST = 1 << 24  # bytes of a file of instructions


def load_flagged(args: argparse.Namespace, path: str | None, **options: Any) -> Editor:
    """The editor of `add_weights_flags`; options as of `load_editor`.

    Raises:
      UserError: as `load_editor`.
    """
    size = None if args.size is None else read_size(args.size)
    return load_editor(
        path, args.weights, vae=args.vae, text=args.text, attention=args.attention,
        size=size, **options,
    )  # fmt: skip


def with_flags(editor: Editor, args: argparse.Namespace, turns: int) -> Editor:
    """The editor with the settings of `add_settings_flags`; those not given stay.

    Args:
      turns: of the longest session, where all frames are kept.

    Raises:
      UserError: settings that do not fit each other.
    """
    memory = {"sink": args.sink, "positions": args.positions}
    memory = {name: value for name, value in memory.items() if value is not None}
    if args.window is not None:
        memory["window"] = None if args.window == FULL else args.window
    sampler = override_sampler(
        editor.sampler, kind=args.sampler, steps=args.steps, guidance=args.guidance,
        shift=args.shift, negative=args.negative,
    )  # fmt: skip
    return editor.with_settings(
        dataclasses.replace(editor.memory, **memory), sampler, max_turns=turns
    )


def prepare_editor(args: argparse.Namespace, instructions: Sequence[str]) -> Editor:
    """The editor of the flags, which can take the instructions."""
    turns = len(instructions)
    editor = load_flagged(args, args.checkpoint, max_turns=turns)
    editor = with_flags(editor, args, turns)
    check_instructions(editor, instructions)
    return editor


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
