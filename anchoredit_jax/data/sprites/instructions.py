"""Edits of a scene: what may be asked, in which words, and every right answer."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from anchoredit_jax.data.sprites.scene import (
    COLOURS,
    SHAPES,
    SLOTS,
    Accessory,
    Scene,
)
from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import unknown_name

KINDS = (
    "background",
    "add",
    "remove",
    "recolour",
    "move",
    "cover",
    "uncover",
    "keep",
)
"""Kinds of edits with one right answer."""

AMBIGUOUS_KINDS = ("add_somewhere", "background_other")
"""Kinds of edits with several right answers."""

NULL_INSTRUCTION = ""

PHRASES: dict[str, tuple[str, ...]] = {
    "background": (
        "make the background {colour}",
        "change the background to {colour}",
        "turn the background {colour}",
        "give it a {colour} background",
    ),
    "add": (
        "add a {object} at the {slot}",
        "put a {object} in the {slot} corner",
        "place a {object} at the {slot}",
        "draw a {object} in the {slot}",
    ),
    "remove": (
        "remove the {object}",
        "delete the {object}",
        "erase the {object}",
        "take the {object} away",
    ),
    "recolour": (
        "paint the {object} {colour}",
        "make the {object} {colour}",
        "recolour the {object} to {colour}",
        "change the colour of the {object} to {colour}",
    ),
    "move": (
        "move the {object} to the {slot}",
        "shift the {object} to the {slot}",
        "move the {object} into the {slot} corner",
        "bring the {object} over to the {slot}",
    ),
    "cover": (
        "cover the subject",
        "hide the subject behind a crate",
        "cover the face with a crate",
        "put a crate over the subject",
    ),
    "uncover": (
        "uncover the subject",
        "show the subject again",
        "uncover the face",
        "lift the crate off the subject",
    ),
    "keep": (
        NULL_INSTRUCTION,
        "keep everything as it is",
        "leave the image as it is",
        "do not change anything",
    ),
    "add_somewhere": (
        "add a {object} somewhere",
        "put a {object} anywhere",
        "place a {object} in any free corner",
    ),
    "background_other": (
        "change the background to another colour",
        "give the background a different colour",
        "make the background any other colour",
    ),
}
"""Ways to say each kind of edit."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """One turn of a sprite session: an instruction and its right answers.

    Attributes:
      kind: one of `KINDS` or `AMBIGUOUS_KINDS`.
      text: the instruction.
      before, after: the scenes around it.
      valid: every scene that fulfils the instruction, `after` among them.
    """

    kind: str
    text: str
    before: Scene
    after: Scene
    valid: tuple[Scene, ...]


def sample_edit(
    rng: np.random.Generator, scene: Scene, weights: Mapping[str, float]
) -> Edit:
    """A random edit that is possible in `scene`.

    Args:
      weights: kind -> how often, relative to the others that are possible.

    Raises:
      UserError: unknown kinds, weights below zero, or nothing possible has a weight.
    """
    check_weights(weights)
    kind = choose_kind(rng, scene, weights)
    if kind is None:
        raise UserError(
            f"no kind of edit with a weight is possible in this scene: {scene}"
        )
    return make_edit(rng, scene, kind)


def choose_kind(
    rng: np.random.Generator, scene: Scene, weights: Mapping[str, float]
) -> str | None:
    """Draw one of the possible kinds by weight; None where none of them has one."""
    totals, kinds = [0.0], []
    for kind in possible_kinds(scene):
        if weights.get(kind, 0.0) > 0:
            kinds.append(kind)
            totals.append(totals[-1] + weights[kind])
    if not kinds:
        return None
    level = rng.random() * totals[-1]
    return kinds[sum(level >= total for total in totals[1:-1])]


def make_edit(rng: np.random.Generator, scene: Scene, kind: str) -> Edit:
    """A random edit of one kind, which must be among `possible_kinds(scene)`."""
    words, valid = _MAKERS[kind](rng, scene)
    phrase = _pick(rng, PHRASES[kind])
    after = valid[0] if len(valid) == 1 else _pick(rng, valid)
    return Edit(kind, _say(phrase, words), scene, after, tuple(valid))


def null_edit(scene: Scene) -> Edit:
    """The null instruction: nothing is said and nothing changes."""
    return Edit("keep", NULL_INSTRUCTION, scene, scene, (scene,))


def possible_kinds(scene: Scene) -> tuple[str, ...]:
    """The kinds of edits that make sense in a scene, in a fixed order."""
    taken = len(scene.taken_slots())
    free = len(SLOTS) - taken
    possible = {
        "background": True,
        "add": free > 0,
        "remove": taken > 0,
        "recolour": taken > 0,
        "move": taken > 0 and free > 0,
        "cover": not scene.covered,
        "uncover": scene.covered,
        "keep": True,
        "add_somewhere": free > 1,  # with one free slot there is one answer
        "background_other": True,
    }
    return tuple(kind for kind, yes in possible.items() if yes)


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse weights of unknown kinds, below zero, or all zero.

    Raises:
      UserError: see above.
    """
    for kind, weight in weights.items():
        if kind not in PHRASES:
            raise UserError(unknown_name(f"kind of edit '{kind}'", kind, PHRASES))
        if not 0 <= weight < float("inf"):
            raise UserError(f"the weight of '{kind}' must be 0 or more, got {weight}")
    if not any(weights.values()):
        raise UserError("at least one kind of edit needs a weight above 0")


Option = TypeVar("Option")

_Words = dict[str, str]
_Made = tuple[_Words, list[Scene]]


def _background(rng: np.random.Generator, scene: Scene) -> _Made:
    colour = _pick(rng, _free_colours(scene))
    return {"colour": colour}, [dataclasses.replace(scene, background=colour)]


def _background_other(rng: np.random.Generator, scene: Scene) -> _Made:
    colours = _free_colours(scene)
    return {}, [dataclasses.replace(scene, background=colour) for colour in colours]


def _add(rng: np.random.Generator, scene: Scene) -> _Made:
    item, slot = _new_accessory(rng, scene), _pick(rng, scene.free_slots())
    words = {"object": _name(item), "slot": SLOTS[slot]}
    return words, [scene.with_slot(slot, item)]


def _add_somewhere(rng: np.random.Generator, scene: Scene) -> _Made:
    item = _new_accessory(rng, scene)
    words = {"object": _name(item)}
    return words, [scene.with_slot(slot, item) for slot in scene.free_slots()]


def _remove(rng: np.random.Generator, scene: Scene) -> _Made:
    slot = _pick(rng, scene.taken_slots())
    words = {"object": _name(scene.accessories[slot])}
    return words, [scene.with_slot(slot, None)]


def _recolour(rng: np.random.Generator, scene: Scene) -> _Made:
    slot = _pick(rng, scene.taken_slots())
    old = scene.accessories[slot]
    colour = _pick(rng, _free_colours(scene))
    new = Accessory(old.shape, colour)
    return {"object": _name(old), "colour": colour}, [scene.with_slot(slot, new)]


def _move(rng: np.random.Generator, scene: Scene) -> _Made:
    start, end = _pick(rng, scene.taken_slots()), _pick(rng, scene.free_slots())
    item = scene.accessories[start]
    after = scene.with_slot(start, None).with_slot(end, item)
    return {"object": _name(item), "slot": SLOTS[end]}, [after]


def _set_cover(covered: bool) -> Callable[[np.random.Generator, Scene], _Made]:
    return lambda rng, scene: ({}, [dataclasses.replace(scene, covered=covered)])


_MAKERS: dict[str, Callable[[np.random.Generator, Scene], _Made]] = {
    "background": _background,
    "add": _add,
    "remove": _remove,
    "recolour": _recolour,
    "move": _move,
    "cover": _set_cover(True),
    "uncover": _set_cover(False),
    "keep": lambda rng, scene: ({}, [scene]),
    "add_somewhere": _add_somewhere,
    "background_other": _background_other,
}


def _free_colours(scene: Scene) -> list[str]:
    """Colours that neither the background nor an accessory has: at least three."""
    used = {item.colour for item in scene.accessories if item} | {scene.background}
    return [name for name in COLOURS if name not in used]


def _new_accessory(rng: np.random.Generator, scene: Scene) -> Accessory:
    """A shape and a colour that the scene has not."""
    shown = {item.shape for item in scene.accessories if item}
    shape = _pick(rng, [name for name in SHAPES if name not in shown])
    return Accessory(shape, _pick(rng, _free_colours(scene)))


def _name(item: Accessory) -> str:
    return f"{item.colour} {item.shape}"


def _say(phrase: str, words: _Words) -> str:
    for key, word in words.items():
        if word.startswith("orange"):
            phrase = phrase.replace(f" a {{{key}}}", f" an {{{key}}}")
    return phrase.format(**words)


def _pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    return options[int(rng.random() * len(options))]
