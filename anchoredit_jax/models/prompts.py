"""Which prompt tokens each frame sees (docs/method.md, Instructions)."""

import numpy as np

from anchoredit_jax.arrays import Bool, Int
from anchoredit_jax.memory import FrameVisibility
from anchoredit_jax.memory.visibility import target_places
from anchoredit_jax.models.config import TransformerConfig


def prompt_visibility(
    config: TransformerConfig,
    frames: int,
    prompts: tuple[int, int],
    source: bool,
    visibility: FrameVisibility,
) -> tuple[Int[np.ndarray, "T R"], Bool[np.ndarray, "T seen"] | None]:
    """The prompts that a frame attends to, and which of their tokens.

    Frame i takes prompt i - 1, the source (which has none of its own) what
    `config.source_prompt` says. In teacher forcing the clean frames are context: like
    the source, they follow no prompt.

    Args:
      frames: T, clean and noisy ones together.
      prompts: N and their length S.
      source: whether frame 0 is the source; without it, frame i takes prompt i.
      visibility: the rule of self-attention, which tells what a sequence consists of.

    Returns:
      (the prompts of each frame, which of their tokens it sees or None for all); R is
      1, or N where a frame sees all prompts so far.

    Raises:
      ValueError: a frame has no prompt.
    """
    count, text_tokens = prompts
    teacher = visibility.mode == "teacher_forcing"
    half = frames // 2 if teacher else frames
    own = np.arange(half)
    if visibility.mode == "history_and_targets":
        own = target_places(frames)
    if source:
        own = np.maximum(own - 1, 0)
    if teacher:
        own = np.concatenate([np.zeros(half, int), own])
    is_source = np.zeros(frames, bool)
    is_source[: half if teacher else 0] = True
    if source:
        is_source[half if teacher else 0] = True
    if own.max() >= count:
        raise ValueError(f"{frames} frames need {own.max() + 1} prompts, got {count}")
    if config.text_visibility == "so_far":
        seen = np.arange(count)[None] <= own[:, None]
        own = np.tile(np.arange(count), (frames, 1))
    else:
        seen = np.ones((frames, 1), bool)
        own = own[:, None]
    mask = np.repeat(seen, text_tokens, axis=1)
    if config.source_prompt == "first_token":
        mask[is_source] = np.arange(mask.shape[1]) == 0
    return own, None if mask.all() else mask
