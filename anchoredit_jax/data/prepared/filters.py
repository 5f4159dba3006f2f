"""Sound sessions that a person does not want, each named with why."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anchoredit_jax.choices import NEAR
from anchoredit_jax.data.images import MAX_ASPECT, decode_image
from anchoredit_jax.data.likeness import changed_share
from anchoredit_jax.data.sessions import Dropped, RawSession
from anchoredit_jax.errors import UserError

NEAR_DUPLICATE = "near duplicate"
# Reasons that an option asks for, which are no fault of the source.
ASKED = (
    *("gap", "low quality", NEAR_DUPLICATE, "too little change", "too much change"),
    *("unfit text", "unwanted size"),
)


@dataclasses.dataclass(frozen=True)
class Filters:
    """What is left out.

    Attributes:
      min_change: a turn must change more than this share of its image, by blocks of 16
        pixels; see `likeness`. A session with one that does not goes.
      max_change: and at most this share.
      min_side: the smallest side of an image, in pixels.
      max_aspect: the longer side over the shorter one, at most.
      near: "sessions": those whose source and last image an earlier session nearly has
        go; "images": those whose source it nearly has.
      words: at most in an instruction, as the n-gram encoder counts; 0: any number.
      tokens: S, what the text encoder reads with the end token; 0: any number.
      tokenizer: its folder, where `tokens` is given.
    """

    min_change: float = -1.0
    max_change: float = 1.0
    min_side: int = 0
    max_aspect: float = MAX_ASPECT
    near: str = "keep"
    words: int = 0
    tokens: int = 0
    tokenizer: str = ""

    def __post_init__(self):
        if self.near not in NEAR:
            raise UserError(f"near must be {', '.join(NEAR)}, given {self.near!r}")
        if not -1 <= self.min_change < self.max_change <= 1:
            raise UserError(
                "expected shares with min_change below max_change, at most 1; given "
                f"{self.min_change} and {self.max_change}"
            )
        if self.min_side < 0 or not self.max_aspect >= 1:
            raise UserError(
                "expected min_side of 0 or more pixels and max_aspect of 1 or more, "
                f"given {self.min_side} and {self.max_aspect}"
            )

    @property
    def by_change(self) -> bool:
        """Whether images have to be compared."""
        return self.min_change >= 0 or self.max_change < 1


def judge(session: RawSession, filters: Filters) -> RawSession | Dropped:
    """The session in those of its languages that are wanted, or why it is left out."""
    for number, (height, width) in enumerate(session.sizes):
        short, long = sorted((height, width))
        if short < filters.min_side or long > filters.max_aspect * short:
            detail = (
                f"image {number} is {width} x {height} pixels, wanted are sides of at "
                f"least {filters.min_side}, and one at most {filters.max_aspect:g} "
                "times the other"
            )
            return Dropped(session.key, session.origin, "unwanted size", detail)
    if filters.by_change:
        before = decode_image(session.images[0], tell=lambda _: None)
        for turn, data in enumerate(session.images[1:], 1):
            image = decode_image(data, tell=lambda _: None)
            share = changed_share(before, image)
            if share <= filters.min_change:
                detail = f"turn {turn} changes {share:.1%} of the image"
                return Dropped(session.key, session.origin, "too little change", detail)
            if share > filters.max_change:
                detail = f"turn {turn} changes {share:.1%} of the image"
                return Dropped(session.key, session.origin, "too much change", detail)
            before = image
    return _readable(session, filters)


def _readable(session: RawSession, filters: Filters) -> RawSession | Dropped:
    """A session in those of its languages that the text encoder takes."""
    if not (filters.words or filters.tokens):
        return session
    refusal = _refusal(filters.words, filters.tokens, filters.tokenizer)
    kept, notes = {}, []
    for language, texts in session.instructions.items():
        refused = next(filter(None, map(refusal, texts)), "")
        if refused:
            notes.append(f"{language}: {refused}")
        else:
            kept[language] = texts
    if not kept:
        return Dropped(session.key, session.origin, "unfit text", notes[0])
    notes = [f"{session.key}: left out: {note}" for note in notes]
    return dataclasses.replace(
        session, instructions=kept, notes=(*session.notes, *notes)
    )


@functools.lru_cache(1)  # a tokenizer takes a second to load
def _refusal(words: int, tokens: int, folder: str) -> Callable[[str], str]:
    """What says why an encoder does not read a text; "" if it reads all of it."""
    # JAX comes with them, half of the memory of a process that reads sessions.
    from anchoredit_jax.models.text import NgramTextEncoder, shown
    from anchoredit_jax.models.tokenizer import load_tokenizer

    if words:
        return NgramTextEncoder(words, 1).refusal
    tokenizer = load_tokenizer(Path(folder), tokens)

    def refusal(text: str) -> str:
        lost = tokenizer.cut_off(text)
        told = f"instruction of over {tokens - 1} tokens; not read: {shown(lost)}"
        return told if lost else ""

    return refusal


def compared(filters: Filters, looks: np.ndarray) -> np.ndarray:
    """Of looks or tints of source and last image, [n, 2, ..], what must be near."""
    return looks[:, :1] if filters.near == "images" else looks
