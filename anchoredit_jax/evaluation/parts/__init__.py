"""The parts of an evaluation, a module each: cases, run, numbers, tables, picture.

Another part is another module and a line in this table.
"""

from anchoredit_jax.evaluation.parts import ambiguous, codec, identity, sessions, story
from anchoredit_jax.evaluation.runs import Part

# By name, in the order of the report.
PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        sessions.PART,
        story.PART,
        ambiguous.PART,
        identity.PART,
        codec.PART,
    )
}
DATASET_PARTS = tuple(part.name for part in PARTS.values() if part.of_dataset)
