"""Editing sessions: a scene edited turn after turn, a function of (seed, index)."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from anchoredit_jax.data.sprites.instructions import (
    Edit,
    check_weights,
    choose_kind,
    make_edit,
    null_edit,
    sample_edit,
)
from anchoredit_jax.data.sprites.scene import Scene, sample_scene
from anchoredit_jax.errors import UserError

DEFAULT_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "background": 1.0,
        "add": 1.0,
        "remove": 1.0,
        "recolour": 1.0,
        "move": 2.0,  # learned last, so it is asked twice as often
        "cover": 1.5,
        "uncover": 1.0,
        "keep": 0.5,
        "add_somewhere": 0.5,
        "background_other": 0.5,
    }
)
"""How often training asks for each kind of edit; ambiguous ones about one in ten."""

LONGEST_COVER = 5  # turns between cover and uncover: more than a window of 3 holds

LAYOUTS = ("chain", "star")

_DISTRACTORS = ("background", "add", "remove", "recolour", "move")
_COVER_STREAM = 1  # keeps scripted sessions apart from sampled ones
_SKIP_STREAM = 2


@dataclasses.dataclass(frozen=True)
class SpriteSession:
    """A session with its ground truth.

    Attributes:
      index: its place in the seed's sequence of sessions.
      scenes: T = N + 1 scenes, the first one is the source.
      edits: N edits; edit n leads from scene n to scene n + 1.
    """

    index: int
    scenes: tuple[Scene, ...]
    edits: tuple[Edit, ...]


def sample_session(
    seed: int,
    index: int,
    turns: int,
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
    null_fraction: float = 0.0,
    layout: str = "chain",
) -> SpriteSession:
    """Session `index` of the endless sequence that `seed` names.

    The source is always uncovered. A cover stays for 1 to 5 other edits and is taken
    off before the session ends, unless it is put on in the very last turn: so the
    weight of "uncover" only says whether (above 0) or not covers are taken off. A turn
    in which no weighted kind is possible is a null turn.

    Args:
      turns: N, edits of the session.
      weights: kind -> how often, relative to the others.
      null_fraction: probability that a turn has the null instruction "" whatever the
        weights say.
      layout: "chain", each edit follows the last; or "star", all edits start from the
        source (N single-turn samples that share it).

    Raises:
      UserError: bad weights, an unknown layout, a negative seed or index, or no turn.
    """
    check_weights(weights)
    check_layout(layout)
    _check(turns=turns)
    rng = _generator(seed, index)
    others = {k: w for k, w in weights.items() if k != "uncover"}
    uncovers = weights.get("uncover", 0.0) > 0
    scene = source = sample_scene(rng)
    due = turns  # the turn in which the cover comes off
    edits: list[Edit] = []
    for turn in range(turns):
        if scene.covered and turn == due:
            edit = make_edit(rng, scene, "uncover")
        elif null_fraction and rng.random() < null_fraction:
            edit = null_edit(scene)
        else:
            kind = choose_kind(rng, scene, others)
            edit = make_edit(rng, scene, kind) if kind else null_edit(scene)
        if edit.kind == "cover" and uncovers:
            stay = 1 + int(rng.random() * LONGEST_COVER)
            due = max(min(turn + 1 + stay, turns - 1), turn + 1)
        edits.append(edit)
        scene = edit.after if layout == "chain" else source
    return _session(index, edits)


def cover_session(seed: int, index: int, distractors: int = 5) -> SpriteSession:
    """The scripted story: cover the subject, `distractors` other edits, uncover it.

    The distractors change backgrounds and accessories. Their generator is not that of
    `sample_session`, so the subjects differ, too.
    """
    _check(distractors=distractors)
    rng = _generator(seed, index, _COVER_STREAM)
    scene = sample_scene(rng)
    edits = [make_edit(rng, scene, "cover")]
    for _ in range(distractors):
        edits.append(
            sample_edit(rng, edits[-1].after, dict.fromkeys(_DISTRACTORS, 1.0))
        )
    edits.append(make_edit(rng, edits[-1].after, "uncover"))
    return _session(index, edits)


def draw_skip(seed: int, index: int, longest: int, probability: float) -> int:
    """How many turns behind the source session `index` leaves out: 0, or with this
    probability 1 to `longest`."""
    first, second = _generator(seed, index, _SKIP_STREAM).random(2)
    return 1 + int(second * longest) if longest and first < probability else 0


def check_layout(layout: str) -> None:
    """Raise a `UserError` for a layout that sessions do not have."""
    if layout not in LAYOUTS:
        raise UserError(f"a session's layout is one of {LAYOUTS}, got {layout!r}")


def _generator(seed: int, index: int, stream: int = 0) -> np.random.Generator:
    """Keyed by (seed, index), no state in between; `stream` gives disjoint draws."""
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 2**63:
            raise UserError(f"{name} of a session must be in [0, 2**63), got {value}")
    key = np.array([seed, index], np.uint64)
    counter = np.array([0, 0, 0, stream], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} of a session must be 1 or more, got {count}")


def _session(index: int, edits: list[Edit]) -> SpriteSession:
    scenes = (edits[0].before, *(edit.after for edit in edits))
    return SpriteSession(index, scenes, tuple(edits))
