"""What a sprite scene holds: a subject, a background, accessories in four corners."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from anchoredit_jax.errors import UserError
from anchoredit_jax.strict import unknown_name

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 44, 48),
    "orange": (246, 140, 34),
    "yellow": (250, 224, 78),
    "green": (48, 158, 72),
    "cyan": (84, 206, 222),
    "blue": (46, 76, 200),
    "purple": (148, 58, 188),
    "white": (242, 242, 242),
}
"""Background and accessory colours, RGB; no two are nearer than 85 (of 255)."""

SHAPES = ("circle", "square", "triangle", "ring")
SLOTS = ("top left", "top right", "bottom left", "bottom right")

ATTRIBUTES = (
    "size",
    "aspect",
    "squareness",
    "hue",
    "value",
    "stripe_hue",
    "stripe_value",
    "saturation",
    "stripe_angle",
    "stripe_period",
    "stripe_phase",
    "eye_spacing",
    "eye_size",
    "eye_height",
    "eye_hue",
    "mouth_width",
    "mouth_curve",
    "mouth_height",
)
"""Names of a subject's continuous attributes, each in [0, 1]: its identity."""

# Probabilities of a first scene with 0, 1, ... accessories: 0.1, 0.25, 0.3, 0.25, 0.1;
# here their running sums.
_ACCESSORY_TOTALS = (0.1, 0.35, 0.65, 0.9)


@dataclasses.dataclass(frozen=True)
class Accessory:
    """A coloured shape in a corner.

    Attributes:
      shape: one of `SHAPES`.
      colour: a key of `COLOURS`.
    """

    shape: str
    colour: str

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise UserError(unknown_name(f"shape '{self.shape}'", self.shape, SHAPES))
        check_colour(self.colour)


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything that one frame shows; the rendering is a function of it.

    Attributes:
      subject: the attributes named by `ATTRIBUTES`, each in [0, 1].
      background: a key of `COLOURS`.
      accessories: what stands in each slot of `SLOTS`, None where it is free.
      covered: a crate hides the subject.
    """

    subject: tuple[float, ...]
    background: str
    accessories: tuple[Accessory | None, ...] = (None, None, None, None)
    covered: bool = False

    def __post_init__(self):
        if len(self.subject) != len(ATTRIBUTES):
            raise UserError(
                f"a subject has {len(ATTRIBUTES)} attributes, got {len(self.subject)}"
            )
        if len(self.accessories) != len(SLOTS):
            raise UserError(
                f"a scene has {len(SLOTS)} slots, got {len(self.accessories)}"
            )
        check_colour(self.background)

    def free_slots(self) -> list[int]:
        """Indices of the slots that hold nothing."""
        return [i for i, item in enumerate(self.accessories) if item is None]

    def taken_slots(self) -> list[int]:
        """Indices of the slots that hold an accessory."""
        return [i for i, item in enumerate(self.accessories) if item is not None]

    def with_slot(self, slot: int, item: Accessory | None) -> "Scene":
        """The scene with `item` in one slot, whatever was there before."""
        items = list(self.accessories)
        items[slot] = item
        return dataclasses.replace(self, accessories=tuple(items))


def sample_scene(rng: np.random.Generator) -> Scene:
    """A random uncovered scene; no shape twice, no colour twice (background included).

    Draws the subject first: two scenes of one generator state share their subject.
    """
    subject = tuple(rng.random(len(ATTRIBUTES)).tolist())
    draws = iter(rng.random(2 + 2 * len(SLOTS) + len(SHAPES)).tolist())
    colours = list(COLOURS)
    background = colours.pop(int(next(draws) * len(colours)))
    level = next(draws)
    count = sum(level >= total for total in _ACCESSORY_TOTALS)
    slots = _shuffled(range(len(SLOTS)), draws)[:count]
    shapes = _shuffled(SHAPES, draws)[:count]
    items: list[Accessory | None] = [None] * len(SLOTS)
    for slot, shape in zip(slots, shapes, strict=True):
        items[slot] = Accessory(shape, colours.pop(int(next(draws) * len(colours))))
    return Scene(subject, background, tuple(items))


def _shuffled(items: Sequence, draws: Iterator[float]) -> list:
    """`items` in an order that as many of the uniform draws decide."""
    keys = [next(draws) for _ in items]
    return [items[i] for i in sorted(range(len(keys)), key=keys.__getitem__)]


def check_colour(name: str) -> None:
    """Raise a `UserError` for a colour that sprites do not know."""
    if name not in COLOURS:
        raise UserError(unknown_name(f"colour '{name}'", name, COLOURS))
