"""Flags that the scripts which edit share, and the editor that they describe."""

import argparse
import dataclasses
import math
from typing import Any

from anchoredit_jax.memory.causal_memory import POSITIONS
from anchoredit_jax.models.config import CHOICES
from anchoredit_jax.session.editor import Editor, load_editor
from anchoredit_jax.session.overrides import override_sampler
from anchoredit_jax.session.shapes import read_size

FULL = "full"


def add_weights_flags(parser: Any) -> None:
    """Which of the weights, where their parts lie, and how this machine computes."""
    add = parser.add_argument
    add("--weights", choices=("ema", "params"), default="ema", help="default: ema")
    add("--vae", metavar="PATH", help="the Wan VAE, if not where the weights say")
    add("--text", metavar="FOLDER", help="UMT5's, if not where the weights say")
    add(
        "--attention",
        choices=CHOICES["attention"],
        help="kernel (default: as stored, if this machine has it)",
    )
    add(
        "--size",
        metavar="SIZE",
        help="of edited images: auto, a side in pixels, or WIDTHxHEIGHT "
        "(default: as trained)",
    )


def add_schedule_flags(parser: Any) -> None:
    """Add flags that say where the steps lie, and what they lead away from."""
    add = parser.add_argument
    add("--shift", type=finite, help="of the steps towards noise; 1 is none")
    add("--negative", metavar="TEXT", help="what guidance leads away from")


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """What a session remembers, and how a frame is drawn."""
    group = parser.add_argument_group(
        "settings (default: what the checkpoint was trained for)"
    )
    add = group.add_argument
    add("--sink", type=int, help="how many first frames are kept for ever")
    add("--window", type=_window, help=f"how many recent frames are kept, or '{FULL}'")
    add("--positions", choices=POSITIONS, help="position policy of the memory")
    add("--sampler", choices=("few_step", "euler"), help="how a frame is drawn")
    add("--steps", type=int, help="steps per frame")
    add("--guidance", type=finite, help="strength of the instruction; 1 is none")
    add_schedule_flags(group)


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


def finite(text: str) -> float:
    """Read a finite number, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, given {text!r}")
    return value


def _window(text: str) -> int | str:
    if text == FULL:
        return FULL
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a whole number or '{FULL}', given {text!r}"
        ) from None
