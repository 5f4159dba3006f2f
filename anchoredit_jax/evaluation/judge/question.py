"""What a judge is asked about a turn: words and images."""

import base64
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge.config import JudgeConfig

_TASK = """\
You judge one turn of an image editing session. The user gave a source image and then \
one instruction a turn; after each turn the editor returned a new image.

{history}This turn's instruction: {instruction}

Rate the image after this turn with two whole numbers from 0 to 10:
- "instruction": how well this turn's instruction is carried out. 0: not at all; \
10: completely.
- "consistency": how well everything that this instruction does not concern is kept. \
It must look as in the image before this turn, and people and objects must still be \
those of the source image, apart from what earlier instructions changed. 0: a \
different scene; 10: nothing else has changed."""

_FORM = """\
Answer with one JSON object and nothing else; the reason has at most two sentences:
{"reason": "...", "instruction": 0 to 10, "consistency": 0 to 10}"""

_NOTHING = "none; the image must stay exactly as it is"


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """One turn of one session.

    Attributes:
      session: the session's name.
      turn: from 1.
      task: what the judge is told before the images.
      images: (label, uint8 [H, W, 3]) in the order in which they are shown.
    """

    session: str
    turn: int
    task: str
    images: tuple[tuple[str, np.ndarray], ...]

    def key(self, config: JudgeConfig) -> str:
        """A digest of all that decides the answer: the model and how it samples, every
        word and every pixel. Not of the endpoint's address, nor of names."""
        labels = [(label, image.shape) for label, image in self.images]
        words = [config.model, config.temperature, config.seed, config.image_side]
        head = json.dumps([*words, self.task, _FORM, labels])
        images = (np.ascontiguousarray(image).data for _, image in self.images)
        return files.sha256(head.encode(), *images)

    def content(self, image_side: int) -> list[dict]:
        """The parts of the chat message, images as PNG data URLs."""
        parts = [_text(self.task)]
        for label, image in self.images:
            parts.append(_text(label))
            url = {"url": _data_url(image, image_side)}
            parts.append({"type": "image_url", "image_url": url})
        return [*parts, _text(_FORM)]


def complaint(why: str) -> dict:
    """The part to add to the message after an answer that could not be read."""
    return _text(
        f"Your last answer could not be used: {why}. Give the JSON object only."
    )


def session_questions(
    name: str, frames: np.ndarray, instructions: Sequence[str]
) -> Iterator[Question]:
    """The questions of a session, one a turn.

    Args:
      name: of the session.
      frames: uint8 [N + 1, H, W, 3], the source and the image after each turn.
      instructions: N texts; "" is the null instruction.

    Raises:
      UserError: frames of another shape or type.
    """
    frames = np.asarray(frames)
    shape = (len(instructions) + 1, *frames.shape[1:3], 3)
    if frames.dtype != np.uint8 or frames.shape != shape:
        raise UserError(
            f"session {name!r} has {len(instructions)} instructions: the judge needs "
            f"frames uint8 [{len(instructions) + 1}, H, W, 3], the source first; "
            f"given: {frames.dtype} {list(frames.shape)}"
        )
    for turn, instruction in enumerate(instructions, 1):
        task = _TASK.format(
            history=_history(instructions[: turn - 1]), instruction=_quoted(instruction)
        )
        if turn == 1:
            before = (("The source image, before this turn:", frames[0]),)
        else:
            before = (
                ("The source image:", frames[0]),
                ("The image before this turn:", frames[turn - 1]),
            )
        images = (*before, ("The image after this turn:", frames[turn]))
        yield Question(name, turn, task, images)


def _history(instructions: Sequence[str]) -> str:
    if not instructions:
        return ""
    lines = [f"{i}. {_quoted(text)}" for i, text in enumerate(instructions, 1)]
    return "The instructions before it were:\n" + "\n".join(lines) + "\n\n"


def _quoted(instruction: str) -> str:
    if not instruction.strip():
        return _NOTHING
    return json.dumps(instruction, ensure_ascii=False)


def _text(text: str) -> dict:
    return {"type": "text", "text": text}


def _data_url(image: np.ndarray, side: int) -> str:
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)  # never larger
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
