"""Flags that the scripts which edit share; `session.flags` makes editors of them."""

import argparse
import math
from typing import Any

from anchoredit_jax.choices import ATTENTION, POSITIONS, SAMPLERS

FULL = "full"


def add_weights_flags(parser: Any) -> None:
    """Which of the weights, where their parts lie, and how this machine computes."""
    add = parser.add_argument
    add("--weights", choices=("ema", "params"), default="ema", help="default: ema")
    add("--vae", metavar="PATH", help="the Wan VAE, if not where the weights say")
    add("--text", metavar="FOLDER", help="UMT5's, if not where the weights say")
    add(
        "--attention",
        choices=ATTENTION,
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
    add("--sampler", choices=SAMPLERS, help="how a frame is drawn")
    add("--steps", type=int, help="steps per frame")
    add("--guidance", type=finite, help="strength of the instruction; 1 is none")
    add_schedule_flags(group)


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
