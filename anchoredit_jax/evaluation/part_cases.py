"""What each part of an evaluation runs, at the sizes that a checkpoint edits at."""

from collections.abc import Callable

from anchoredit_jax.data.buckets import Size
from anchoredit_jax.data.sprites.held_out import (
    ambiguous_sessions,
    held_out_sessions,
    story_sessions,
)
from anchoredit_jax.data.sprites.view import SpriteView, square_view
from anchoredit_jax.evaluation.cases import Case, identity_cases, sprite_cases
from anchoredit_jax.evaluation.folder_cases import folder_cases
from anchoredit_jax.evaluation.settings import Settings

CODEC_IMAGES = 8


def make_cases(
    settings: Settings, part: str, side: int, size_of: Callable[[Size], Size]
) -> list[Case]:
    """What one part runs.

    Args:
      side: pixels; where the settings name no shapes, sprites are drawn at the size of
        a square of this side.
      size_of: (height, width) of an image -> the size that it is edited at.

    Raises:
      UserError: a dataset that cannot be read.
    """
    views = [SpriteView(shape, size_of(shape)) for shape in settings.shapes]
    views = views or [square_view(size_of((side, side)))]
    if part == "story":
        sessions = story_sessions(settings.story_sessions, settings.seed)
        return sprite_cases(sessions, views)
    if part == "ambiguous":
        sessions = ambiguous_sessions(settings.ambiguous_sessions, settings.seed)
        return sprite_cases(sessions, views)
    count = {
        "table": settings.sessions,
        "identity": settings.identity_sessions,
        "codec": CODEC_IMAGES,
    }[part]
    if settings.dataset is not None:
        cases = folder_cases(
            settings.dataset,
            size_of,
            language=settings.language,
            turns=settings.turns,
            limit=count,
        )
    else:
        sessions = held_out_sessions(count, settings.turns, settings.seed)
        cases = sprite_cases(sessions, views)
    if part == "identity":
        turns = max(len(case.instructions) for case in cases)
        return identity_cases(cases, settings.turns or turns)
    return cases
