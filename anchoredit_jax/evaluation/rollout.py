"""Many sessions edited turn after turn through the memory, in equal batches."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.models.codec import from_uint8, to_uint8
from anchoredit_jax.turn import generate_turn, session_key, start_memory


def rollout_sessions(
    editor: Any,
    images: np.ndarray,
    instructions: Sequence[Sequence[str]],
    sampler: Any,
    memory: Any,
    seed: int = 0,
    *,
    ids: Sequence[int] | None = None,
    batch: int = 50,
    on_turn: Callable[[int], None] = lambda sessions: None,
) -> np.ndarray:
    """Edit every session with its instructions.

    Two programs are compiled, one to start a memory and one for a turn; the last batch
    is filled up by repeating a session. A session's result depends on the seed and on
    its own id, source and instructions only, not on the batch it is in.

    Args:
      editor: an `Editor` (run, params, codec, text encoder).
      images: uint8 [n, H, W, 3], the sources.
      instructions: n lists of N instructions.
      sampler: a `SamplerConfig`.
      memory: a `MemoryConfig`.
      seed: of the noise.
      ids: key of each session's noise; 0..n-1 by default.
      batch: sessions at a time.
      on_turn: called after every turn of a batch with its number of sessions.

    Returns:
      uint8 [n, N, H, W, 3], the result of every instruction.

    Raises:
      UserError: if the counts of images, instruction lists or ids differ.
    """
    ids = list(range(len(images))) if ids is None else list(ids)
    turns = _check(images, instructions, ids)
    batch = min(batch, len(images))
    model, null = editor.run.model, editor.text.encode([""])[0]
    frames = turns + 1 if memory.window is None else None
    results = []
    for rows, real in _batches(len(images), batch):
        source = np.asarray(editor.codec.encode(from_uint8(images[rows])), np.float32)
        text = editor.text.encode([t for row in rows for t in instructions[row]])
        text = text.reshape(batch, turns, *text.shape[1:])
        state = _start(
            editor.params,
            source,
            text[:, 0],
            null,
            model=model,
            memory=memory,
            sampler=sampler,
            frames=frames,
        )
        latents = []
        for number in range(turns):
            latent, state = _turn(
                editor.params,
                state,
                text[:, number],
                null,
                np.uint32(seed),
                np.array([ids[row] for row in rows], np.uint32),
                np.uint32(number + 1),
                model=model,
                sampler=sampler,
                shape=source.shape[1:],
            )
            latents.append(jax.block_until_ready(latent))
            on_turn(real)
        decoded = editor.codec.decode(np.stack(jax.device_get(latents), axis=1))
        results.append(np.asarray(to_uint8(decoded))[:real])
    return np.concatenate(results)


def _check(images, instructions, ids) -> int:
    if not (len(images) == len(instructions) == len(ids)):
        raise UserError(
            f"{len(images)} images, {len(instructions)} lists of instructions and "
            f"{len(ids)} ids were given; give one of each for every session"
        )
    lengths = {len(texts) for texts in instructions}
    if len(lengths) != 1 or 0 in lengths:
        raise UserError(
            "every session needs the same number of instructions, at least one; got "
            f"{sorted(lengths)}"
        )
    return lengths.pop()


def _batches(count: int, size: int) -> Iterator[tuple[list[int], int]]:
    """Rows of each batch, always `size` of them, and how many are not repetitions."""
    for first in range(0, count, size):
        rows = list(range(first, min(first + size, count)))
        yield rows + [rows[-1]] * (size - len(rows)), len(rows)


# Compiled once per process for each model, memory, sampler and batch size, whichever
# sessions, seeds and checkpoints follow.
@functools.partial(jax.jit, static_argnames=("model", "memory", "sampler", "frames"))
def _start(params, source, text, null, *, model, memory, sampler, frames):
    return start_memory(model, params, source, text, null, memory, sampler, frames)


@functools.partial(jax.jit, static_argnames=("model", "sampler", "shape"))
def _turn(params, state, text, null, seed, ids, number, *, model, sampler, shape):
    keys = jax.vmap(lambda session: session_key(seed, session, number))(ids)
    return generate_turn(model, params, state, text, null, keys, shape, sampler)
