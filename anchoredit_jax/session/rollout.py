"""Many sessions edited turn after turn through the memory, in batches of one size.

This is how evaluations edit, and another thing than `programs`, with which a person
does. Those draw one session at a time, so that its bits depend on nothing else, stop
after each step if asked, commit apart, so that a saved session comes back, and keep
the memory of every turn. Here nobody waits for a single turn: sessions run side by
side, a turn is one program, its memory is let go, and the programs serve all
checkpoints of one shape. What a turn is, both have from `anchoredit_jax.turn`.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from anchoredit_jax.arrays import Params
from anchoredit_jax.diffusion.samplers import SamplerConfig
from anchoredit_jax.errors import UserError
from anchoredit_jax.memory import MemoryConfig
from anchoredit_jax.models.codec import from_uint8
from anchoredit_jax.models.config import TransformerConfig
from anchoredit_jax.parallel import batch_sharding, using
from anchoredit_jax.parallel.sharded import put
from anchoredit_jax.session.turns import decode
from anchoredit_jax.turn import generate_turn, session_key, start_memory


def iterate_rollouts(
    editor: Any,
    images: Sequence[np.ndarray],
    instructions: Sequence[Sequence[str]],
    sampler: SamplerConfig,
    memory: MemoryConfig,
    seed: int = 0,
    *,
    ids: Sequence[int] | None = None,
    batch: int = 50,
    finished: frozenset[int] = frozenset(),
    on_turn: Callable[[int], None] = lambda sessions: None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Edit every session with its instructions; batch after batch, each in its order.

    Sessions of one image size come together, sizes in the order in which they appear.
    Two programs are compiled for each, one to start a memory and one for a turn; the
    last batch of a size is filled up by repeating a session. A session's result depends
    on the seed and on its own id, source and instructions only, not on the batch it is
    in (up to rounding: sums of other batches have another order).

    Args:
      editor: an `Editor` (run, params, codec, text encoder, mesh); the sessions of a
        batch are spread over the devices of its mesh.
      images: n sources, uint8 [H, W, 3], of any sizes that the model takes.
      instructions: n lists of one instruction and more, of any lengths.
      sampler: a `SamplerConfig`.
      memory: a `MemoryConfig`.
      seed: what the noise is drawn from.
      ids: key of each session's noise; 0..n-1 by default.
      batch: sessions at a time, rounded up to what the mesh divides.
      finished: rows that need no result. Batches stay what they are, so that the
        others get the same bits.
      on_turn: called after every turn of a batch with the sessions that had one.

    Yields:
      (row, uint8 [N, H, W, 3]): the result of every instruction of a session.

    Raises:
      UserError: if the counts of images, instruction lists or ids differ, or a result
        has values that are not finite.
    """
    ids = list(range(len(images))) if ids is None else list(ids)
    lengths = _check(images, instructions, ids)
    mesh = editor.mesh
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    null = editor.text.encode([sampler.negative])[0]
    frames = max(lengths) + 1 if memory.window is None else None

    for rows, real in _batches([image.shape for image in images], batch, parts):
        if finished.issuperset(rows):
            continue
        turns = max(lengths[row] for row in rows)
        source = np.asarray(
            editor.codec.encode(from_uint8(np.stack([images[row] for row in rows]))),
            np.float32,
        )
        texts = [_padded(instructions[row], turns) for row in rows]
        text = editor.text.encode([own[turn] for turn in range(turns) for own in texts])
        latents = []
        for turn, latent in enumerate(
            iterate_turns(
                editor.run.model, editor.params, mesh, source,
                text.reshape(turns, len(rows), *text.shape[1:]), null, sampler, memory,
                seed, [ids[row] for row in rows], frames,
            )
        ):  # fmt: skip
            latents.append(jax.block_until_ready(latent))
            on_turn(sum(lengths[row] > turn for row in rows[:real]))
        # One turn after the other: decoding all at once may not fit a device.
        images_of = [decode(editor, latent) for latent in latents]
        for place_in_batch, row in enumerate(rows[:real]):
            if row not in finished:
                own = images_of[: lengths[row]]
                yield row, np.stack([turn[place_in_batch] for turn in own])


def iterate_turns(
    model: TransformerConfig,
    params: Params,
    mesh: Mesh,
    source: np.ndarray,
    text: np.ndarray,
    null: np.ndarray,
    sampler: SamplerConfig,
    memory: MemoryConfig,
    seed: int,
    ids: Sequence[int],
    frames: int | None = None,
) -> Iterator[jax.Array]:
    """Edit B sessions turn after turn, latents in and latents out.

    Args:
      model, params: the network, which lies on the mesh.
      mesh: the devices that the sessions are spread over; of several processes all
        give the same.
      source: latents [B, h, w, C].
      text: prompts [N, B, S, Dt] of the turns.
      null: the text [S, Dt] of the unconditional branch.
      ids: B keys of the sessions' noise.
      frames: size of a full history (`memory.window` None).

    Yields:
      latents [B, h, w, C] of every turn, spread over the mesh.
    """
    place = functools.partial(put, place=batch_sharding(mesh))
    numbers = place(np.array(ids, np.uint32))
    with using(mesh):
        state = _start(
            params, place(source), place(text[0]), null,
            model=model, memory=memory, sampler=sampler, frames=frames,
        )  # fmt: skip
    for number, prompts in enumerate(text, 1):
        with using(mesh):
            latents, state = _turn(
                params, state, place(prompts), null, np.uint32(seed), numbers,
                np.uint32(number),
                model=model, sampler=sampler, shape=source.shape[1:],
            )  # fmt: skip
        yield latents


def rollout_sessions(
    editor: Any, images: np.ndarray, instructions: Sequence[Sequence[str]], *args, **kw
) -> np.ndarray:
    """`iterate_rollouts` of sessions of N instructions each: uint8 [n, N, H, W, 3].

    Raises:
      UserError: also if sessions have different numbers of instructions.
    """
    lengths = {len(texts) for texts in instructions}
    if len(lengths) != 1:
        raise UserError(
            f"every session needs the same number of instructions; got {lengths}"
        )
    results = iterate_rollouts(editor, images, instructions, *args, **kw)
    return np.stack([frames for _, frames in results])


def _check(images, instructions, ids) -> list[int]:
    if not (len(images) == len(instructions) == len(ids)):
        raise UserError(
            f"{len(images)} images, {len(instructions)} lists of instructions and "
            f"{len(ids)} ids were given; give one of each for every session"
        )
    lengths = [len(texts) for texts in instructions]
    if 0 in lengths or not lengths:
        raise UserError("give sessions, and every session at least one instruction")
    return lengths


def _padded(texts: Sequence[str], turns: int) -> list[str]:
    """Turns that a session does not have are null; nobody sees their results."""
    return [*texts, *[""] * (turns - len(texts))]


def _batches(
    shapes: Sequence[tuple[int, ...]], batch: int, parts: int
) -> Iterator[tuple[list[int], int]]:
    """Rows of each batch, and how many are not repetitions; see `iterate_rollouts`."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for row, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(row)
    for of_shape in by_shape.values():
        size = -(-min(batch, len(of_shape)) // parts) * parts
        for first in range(0, len(of_shape), size):
            rows = of_shape[first : first + size]
            yield rows + [rows[-1]] * (size - len(rows)), len(rows)


# Compiled once per process for each model, memory, sampler and batch shape, whichever
# sessions, seeds and checkpoints follow.
@functools.partial(jax.jit, static_argnames=("model", "memory", "sampler", "frames"))
def _start(params, source, text, null, *, model, memory, sampler, frames):
    return start_memory(model, params, source, text, null, memory, sampler, frames)


@functools.partial(jax.jit, static_argnames=("model", "sampler", "shape"))
def _turn(params, state, text, null, seed, ids, number, *, model, sampler, shape):
    keys = jax.vmap(lambda session: session_key(seed, session, number))(ids)
    return generate_turn(model, params, state, text, null, keys, shape, sampler)
