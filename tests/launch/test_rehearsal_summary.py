"""The short summary of a report: from scores to a line a shape."""

import pytest

from anchoredit_jax.data.sprites import (
    SpriteView,
    held_out_sessions,
    square_view,
    story_sessions,
)
from anchoredit_jax.evaluation import PolicyRun
from anchoredit_jax.evaluation.cases import followed, score_cases, sprite_cases
from anchoredit_jax.evaluation.frame_store import open_store
from anchoredit_jax.evaluation.parts.story import summarise_story
from anchoredit_jax.evaluation.summary import by_shape, summarise
from launch.rehearsal_summary import (
    ALL,
    shapes_markdown,
    summarise_shapes,
)

VIEWS = (square_view(32), SpriteView((48, 85), (24, 40)))


def run_of(sessions, folder, spoil=()):
    """Perfect frames, but for the rows to spoil, whose last turn is grey."""
    cases = sprite_cases(sessions, VIEWS)
    frames = [case.read_truth()[1:].copy() for case in cases]
    for row in spoil:
        frames[row][-1] = 128
    scores = score_cases(cases, frames)
    return PolicyRun(cases, open_store(folder, {}), followed(scores), scores)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    # Of the second shape.
    table = run_of(held_out_sessions(12, 6), folder / "table", spoil=[2, 3, 6])
    story = run_of(story_sessions(6), folder / "story", spoil=[0])
    whole = by_shape(lambda run: summarise(run.measures, run.scores))
    return {
        "table": {"toy": {"sink1_window3": whole(table)}},
        "story": {
            "toy": {
                "sink1_window3": by_shape(lambda run: summarise_story(run.scores))(
                    story
                )
            }
        },
    }


def test_every_shape_has_its_numbers(report):
    told = summarise_shapes(report, "toy")["sink1_window3"]
    assert list(told) == [ALL, "32x32", "48x85"]
    assert [told[shape]["sessions"] for shape in told] == [12, 6, 6]
    assert told["32x32"]["edit_success"] == 1.0
    assert told["48x85"]["edit_success"] == pytest.approx(1 - 3 / 36)
    assert told[ALL]["edit_success"] == pytest.approx(1 - 3 / 72)
    assert told["48x85"]["story"] == 1.0 and told["32x32"]["story"] < 1.0
    assert list(told[ALL]["subject_psnr"]) == ["1", "3", "6"]


def test_a_table_in_markdown(report):
    told = summarise_shapes(report, "toy")
    table = shapes_markdown({"ours": told, "former": told})
    lines = table.splitlines()
    assert len(lines) == 2 + 2 * 3 and "subject PSNR, turn 1 / 3 / 6" in lines[0]
    assert lines[1].count("---") == lines[0].count("|") - 1
    assert lines[4].startswith("| ours | sink 1 + window 3 | 48x85 | 6 | 0.917 |")
