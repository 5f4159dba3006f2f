"""The scripted part: cover the subject, make other edits, uncover it."""

from collections.abc import Mapping

from PIL import Image

from anchoredit_jax.data.sprites import SpriteScores, story_sessions
from anchoredit_jax.evaluation.cases import sprite_cases, sprite_views
from anchoredit_jax.evaluation.pictures import draw_session
from anchoredit_jax.evaluation.runs import Part, PolicyRun, run_policies
from anchoredit_jax.evaluation.summary import bootstrap_mean, by_shape
from anchoredit_jax.evaluation.table import Table, by_policy, show, text_table

STORY_TITLE = "Cover the subject, make five other edits, uncover it: who comes back?"


def summarise_story(scores: SpriteScores) -> dict:
    """What comes back at the last turn.

    Returns:
      "uncover" (edit success of the last turn), "retrieved" and "subject_psnr" there,
      "covered_psnr" over the turns under cover, and "covered_psnr_last", the turn
      before the uncovering.
    """
    return {
        "sessions": len(scores.success),
        "uncover": bootstrap_mean(scores.success[:, -1]),
        "retrieved": bootstrap_mean(scores.retrieved[:, -1]),
        "subject_psnr": bootstrap_mean(scores.subject_psnr[:, -1]),
        "covered_psnr": bootstrap_mean(scores.covered_psnr),
        "covered_psnr_last": bootstrap_mean(scores.covered_psnr[:, -2]),
    }


def _numbers(runs: Mapping[str, PolicyRun]) -> dict[str, dict]:
    whole = by_shape(lambda run: summarise_story(run.scores))
    return {policy: whole(run) for policy, run in runs.items()}


def _blocks(table: Table, checkpoint: str) -> list[str]:
    rows = table.where(part=PART.name, checkpoint=checkpoint)
    columns = {
        "uncover right": show("uncover", interval=True),
        "right subject of 48": show("retrieved"),
        "subject PSNR": show("subject_psnr", 1),
        "PSNR under cover": show("covered_psnr", 1),
    }
    return [text_table("cover, other edits, uncover", by_policy(rows), columns)]


def story_picture(runs: Mapping[str, PolicyRun], row: int = 0) -> Image.Image:
    """One session; only the last frame is judged.

    Its frame is green where the uncovered subject is right (edit success and nearest
    of 48), red where not. Full history is left out beside other policies.
    """
    chosen = {name: run for name, run in runs.items() if name != "full"} or runs
    return draw_session(chosen, row, _comes_back, STORY_TITLE, cell=128)


def _comes_back(run: PolicyRun, row: int) -> tuple[bool | None, ...]:
    success, retrieved = run.scores.success[row], run.scores.retrieved[row]
    return (None,) * len(success) + (bool(success[-1] * retrieved[-1]),)


PART = Part(
    name="story",
    title="Cover and uncover",
    cases=lambda settings, editor: sprite_cases(
        story_sessions(settings.story_sessions, settings.seed),
        sprite_views(settings, editor),
    ),
    run=run_policies,
    numbers=_numbers,
    blocks=_blocks,
    picture=story_picture,
)
