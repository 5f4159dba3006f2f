"""Trials of editing: the same (weights, image, instructions, seed) give the same bits.

Row 22 of the user reports: alone, in any order, beside other sessions, after saving,
undoing and loading.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from anchoredit_jax.data.sprites import SpriteSource
from anchoredit_jax.reproducibility.outcomes import Outcome
from anchoredit_jax.session import Editor, EditSession, edit_together, load_editor

SESSIONS, TURNS, SEED = 3, 5, 11
# A batch's products are blocked in another way than a single session's. Latents are of
# the order of 1, and a turn starts from the errors of the one before.
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Script:
    """What one session is asked for.

    Attributes:
      image: uint8 [H, W, 3].
      instructions: those of its turns.
      seed: of all of them.
    """

    image: np.ndarray
    instructions: tuple[str, ...]
    seed: int


Way = Callable[[Editor, Sequence[Script]], list[np.ndarray]]


def scripts(size: int, turns: int = TURNS, count: int = SESSIONS) -> list[Script]:
    """Sprites and what is to be done with them."""
    source = SpriteSource(turns=turns, seed=1, size=size)
    return [
        Script(record["images"][0], tuple(record["instructions"]), SEED + number)
        for number, record in enumerate(source.records(range(count)))
    ]


def run_battery(checkpoint: str | os.PathLike | None = None) -> list[Outcome]:
    """Make all trials on the weights of a checkpoint (None: the shipped toy).

    Raises:
      UserError: nothing to load there.
    """
    max_turns = TURNS + 1
    editor = load_editor(checkpoint, max_turns=max_turns)
    asked = scripts(editor.side)
    return judge_all(editor, asked, load_editor(checkpoint, max_turns=max_turns))


def judge_all(
    editor: Editor, asked: Sequence[Script], other: Editor | None = None
) -> list[Outcome]:
    """Hold each way of making the sessions against making each of them alone.

    Args:
      other: an editor of the same weights with programs of its own.
    """
    alone = [latents(edit(editor, script)) for script in asked]
    ways: list[tuple[str, Way, Editor, str]] = [
        (
            "interleaved, in another order", interleaved, editor,
            "draws follow from (seed, turn, step); sessions share nothing",
        ),
        (
            "saved and loaded in the middle", reloaded, editor,
            "a file holds latents; the same commits give the memory back",
        ),
        (
            "undone and done again", undone, editor,
            "a turn keeps the memory after it",
        ),
        (
            "edited together", together, editor,
            "the very programs of a session alone, called for one after the other",
        ),
    ]  # fmt: skip
    if other is not None:
        again = "another editor of the same weights"
        why = "compiled anew from the same programs"
        ways.insert(0, (again, interleaved, other, why))
    outcomes = [
        _judge(name, alone, way(of, asked), why, tolerance=0.0)
        for name, way, of, why in ways
    ]
    batch = batched(editor, asked)
    why = "XLA blocks the products of a batch in another way; edit_together does not"
    return [*outcomes, _judge("several in one batch", alone, batch, why, TOLERANCE)]


def edit(editor: Editor, script: Script) -> EditSession:
    """Make a session by itself."""
    session = editor.start(script.image, script.seed)
    for instruction in script.instructions:
        session.edit(instruction)
    return session


def interleaved(editor: Editor, asked: Sequence[Script]) -> list[np.ndarray]:
    """A turn of each in turns, the last session first."""
    sessions = [editor.start(script.image, script.seed) for script in asked]
    for turn in range(len(asked[0].instructions)):
        for session, script in reversed(list(zip(sessions, asked, strict=True))):
            session.edit(script.instructions[turn])
    return [latents(session) for session in sessions]


def reloaded(editor: Editor, asked: Sequence[Script]) -> list[np.ndarray]:
    """Saved after half of the turns, loaded, and gone on with."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for script in asked:
            half = len(script.instructions) // 2
            first = dataclasses.replace(script, instructions=script.instructions[:half])
            edit(editor, first).save(Path(folder) / "session")
            session = EditSession.load(Path(folder) / "session", editor)
            for instruction in script.instructions[half:]:
                session.edit(instruction)
            made.append(latents(session))
    return made


def undone(editor: Editor, asked: Sequence[Script]) -> list[np.ndarray]:
    """Undo all turns but the first, try and drop another one, and redo them all."""
    made = []
    for script in asked:
        session = edit(editor, script)
        session.goto(1)
        session.edit("something else", seed=1)
        session.undo()
        for instruction in script.instructions[1:]:
            session.edit(instruction)
        made.append(latents(session))
    return made


def together(editor: Editor, asked: Sequence[Script]) -> list[np.ndarray]:
    """Make all sessions in the same calls of `edit_together`."""
    sessions = [editor.start(script.image, script.seed) for script in asked]
    for instructions in zip(*(script.instructions for script in asked), strict=True):
        edit_together(sessions, instructions)
    return [latents(session) for session in sessions]


def batched(editor: Editor, asked: Sequence[Script]) -> list[np.ndarray]:
    """Make all sessions as one batch of the editor's programs."""
    params, programs = editor.params, editor.programs
    source = jnp.concatenate(
        [editor.start(script.image).history[0].latent for script in asked]
    )
    seeds = np.array([script.seed for script in asked], np.uint32)
    frames, memory = [source], None
    for number in range(1, len(asked[0].instructions) + 1):
        text = jnp.asarray(
            editor.text.encode([script.instructions[number - 1] for script in asked])
        )
        if memory is None:
            memory = programs.start(params, source, text)
        x, noise = programs.noise(seeds, np.full_like(seeds, number), source.shape[1:])
        bounds = np.int32(0), np.int32(editor.steps)
        drawn = programs.draw(params, memory, text, x, noise, *bounds)
        memory = programs.commit(params, memory, drawn, text)
        frames.append(drawn)
    return list(np.stack(jax.device_get(frames), axis=1))


def latents(session: EditSession) -> np.ndarray:
    """float32 [T, h, w, C], the source's first."""
    return np.concatenate(jax.device_get([turn.latent for turn in session.history]))


def _judge(
    name: str,
    alone: Sequence[np.ndarray],
    made: Sequence[np.ndarray],
    why: str,
    tolerance: float,
) -> Outcome:
    """Equal where every latent has the same bits."""
    pairs = list(zip(alone, made, strict=True))
    if all(np.array_equal(a.view(np.uint32), b.view(np.uint32)) for a, b in pairs):
        turns = sum(len(a) - 1 for a in alone)
        return Outcome(name, f"bit-equal, {turns} turns", why, True)
    apart = max(float(np.abs(a - b).max()) for a, b in pairs)
    result = f"latents differ by at most {apart:.1e}"
    return Outcome(name, result, why, 0 < apart <= tolerance)
