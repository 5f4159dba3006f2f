"""The parts of an evaluation, a module each: cases, run, numbers, tables, picture.

Another part is another module and a line in this table.
"""

import dataclasses

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.datasets import find_layout
from anchoredit_jax.evaluation.parts import (
    ambiguous,
    codec,
    identity,
    sessions,
    single_turn,
    story,
)
from anchoredit_jax.evaluation.runs import Part
from anchoredit_jax.evaluation.settings import Settings

# By name, in the order of the report.
PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        sessions.PART,
        single_turn.PART,
        story.PART,
        ambiguous.PART,
        identity.PART,
        codec.PART,
    )
}
DATASET_PARTS = tuple(part.name for part in PARTS.values() if part.of_dataset)


def check_parts(settings: Settings) -> Settings:
    """The settings with their parts by name, all that the data has where none is named.

    Raises:
      UserError: an unknown part, none at all, or one that this data cannot give.
    """
    layout = None if settings.dataset is None else find_layout(settings.dataset)
    known = [
        part.name
        for part in PARTS.values()
        if (part.of_dataset or settings.dataset is None)
        and part.layout in (None, layout)
    ]
    parts = tuple(known) if settings.parts is None else settings.parts
    if not parts or not set(parts) <= PARTS.keys():
        raise UserError(
            f"parts must be some of {', '.join(PARTS)}, got "
            f"{', '.join(parts) or 'none'}"
        )
    if unfit := [name for name in parts if name not in known]:
        data = "sprites" if layout is None else f"a data set of the layout {layout!r}"
        raise UserError(
            f"parts must be some of {', '.join(known)} for {data}, got "
            f"{', '.join(unfit)}: these need other data"
        )
    return dataclasses.replace(settings, parts=parts)
