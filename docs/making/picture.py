"""The moving picture: one session under two memories, a turn after the other.

The session is that of launch/quickstart.sh, edited with the shipped weights through the
public API: on the left beside the anchor, on the right without it.
"""

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from anchoredit_jax import Editor, load_editor
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.session.lettering import Lettering

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "anchoredit_jax" / "assets" / "sample.png"
LEFT, RIGHT = "with the anchor", "same window, no anchor"
SIDE, GAP = 320, 16  # of a picture, and between pictures, pixels
QUALITY = 85  # of WebP; lossless it is ten times as large
HOLD, END = 1200, 4000  # how long a turn is shown, and the last one, milliseconds
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_TITLE, _LABEL = Lettering(18), Lettering(15)


def draw(path: Path) -> None:
    """Edit the session twice and write the picture, an animated WebP."""
    told = instructions()
    editor = load_editor()
    window = editor.memory.window
    frames = draw_frames(
        [edited(editor, told), edited(editor, told, MemoryConfig(0, window))], told
    )
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=[HOLD] * (len(frames) - 1) + [END],
        loop=0,
        quality=QUALITY,
        method=6,
    )


def instructions() -> list[str]:
    """Those of the quickstart, in their order."""
    script = (ROOT / "launch" / "quickstart.sh").read_text()
    return re.findall(r'--instruction "([^"]*)"', script)


def edited(
    editor: Editor, told: list[str], memory: MemoryConfig | None = None
) -> list[np.ndarray]:
    """The sample and its turns, uint8 [H, W, 3] each."""
    if memory is not None:
        editor = editor.with_settings(memory)
    session = editor.start(SAMPLE, seed=0)
    return [np.asarray(image) for image in (session.image, *map(session.edit, told))]


def draw_frames(sessions: list[list[np.ndarray]], told: list[str]) -> list[Image.Image]:
    """A picture a turn: the instruction above the sessions side by side."""
    captions = ["the source image"]
    captions += [f"turn {number}: {text}" for number, text in enumerate(told, 1)]
    return [
        _draw_turn(images, caption)
        for *images, caption in zip(*sessions, captions, strict=True)
    ]


def _draw_turn(images: list[np.ndarray], caption: str) -> Image.Image:
    top, below = 2 * GAP + _TITLE.size, GAP + _LABEL.size
    size = (GAP + len(images) * (SIDE + GAP), top + SIDE + below + GAP)
    page = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(page)
    _TITLE.draw(pen, (GAP, GAP - 4), caption, _INK)
    for number, (image, label) in enumerate(zip(images, (LEFT, RIGHT), strict=True)):
        left = GAP + number * (SIDE + GAP)
        shown = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        page.paste(shown, (left, top))
        _LABEL.draw(pen, (left, top + SIDE + 6), label, _INK)
    return page
