"""The question of a report and its answer, on numbers made by hand."""

import pytest

from anchoredit_jax.evaluation.answer import (
    BETTER,
    EVEN,
    FEW,
    WORSE,
    compare_told,
    main_policy,
    question,
    ranked,
)
from anchoredit_jax.evaluation.first_screen import first_screen, front_of
from anchoredit_jax.evaluation.table import Measure, table_of

GOOD = Measure("success", "edit success", "", True)
LOW = Measure("l1", "L1 to the target", "", False)
NEUTRAL = Measure("source_difference", "difference to the source", "", None)
MEASURES = (NEUTRAL, LOW, GOOD)


def number(mean, low=None, high=None, count=12):
    low, high = (mean if value is None else value for value in (low, high))
    return {"mean": mean, "low": low, "high": high, "count": count}


def run_of(success, l1, sessions=12):
    per_turn = {
        "success": [number(success)] * 2,
        "l1": [number(l1)] * 2,
        "source_difference": [number(3.0)] * 2,
    }
    return {
        "sessions": sessions,
        "per_turn": per_turn,
        "success": number(success),
        "last turn": {name: turns[-1] for name, turns in per_turn.items()},
    }


def report_of(differences, sessions=12, labels=("old", "new")):
    """Two checkpoints under two policies; one difference for each policy."""
    place = lambda label, policy: {"checkpoint": label, "policy": policy}  # noqa: E731
    return {
        "contestants": [{"label": label} for label in labels],
        "table": {
            label: {
                policy: run_of(0.5 + i / 4, 0.1, sessions)
                for policy in ("full", "sink1_window3")
            }
            for i, label in enumerate(labels)
        },
        "identical": {},
        "notes": [],
        "comparisons": [
            {
                "first": place(labels[0], policy),
                "second": place(labels[-1], policy),
                "difference": difference,
            }
            for policy, difference in differences.items()
        ],
    }


def told(report, policy="sink1_window3"):
    table = table_of(report, ["table"])
    return compare_told(report, ranked(MEASURES, table), table, policy)


def test_a_difference_counts_where_its_interval_leaves_out_zero():
    both = {"success": number(0.25, 0.1, 0.4), "l1_last": number(0.02, 0.01, 0.03)}
    other = {"success": number(0.0, -0.1, 0.1), "l1_last": number(-0.02, -0.03, -0.01)}
    report = report_of({"full": other, "sink1_window3": both})
    (one,) = told(report)
    verdicts = {f.measure.name: f.verdict for f in one.findings}
    assert verdicts == {"success": BETTER, "l1": WORSE}  # less is better of an error
    assert one.sentence == (
        "new is better than old at edit success and is worse than old at L1 to the "
        "target."
    )
    assert [(f.first.mean, f.second.mean) for f in one.findings] == [
        (0.5, 0.75),
        (0.1, 0.1),
    ]
    (one,) = told(report, "full")
    verdicts = {f.measure.name: f.verdict for f in one.findings}
    assert verdicts == {"success": EVEN, "l1": BETTER}
    assert one.sentence.endswith(
        "L1 to the target; at edit success no difference is shown."
    )


def test_a_few_sessions_show_nothing():
    """Of 5 sessions all have the same sign by chance in one of 16 cases."""
    difference = {"success": number(0.25, 0.1, 0.4)}
    (one,) = told(report_of({"sink1_window3": difference}, sessions=5))
    assert [f.verdict for f in one.findings] == [FEW]
    assert "5 sessions are too few" in one.sentence and "at least 6" in one.sentence
    (one,) = told(report_of({"sink1_window3": difference}, sessions=6))
    assert [f.verdict for f in one.findings] == [BETTER]


def test_policies_of_one_checkpoint_are_compared_with_each_other():
    report = report_of({"full": {"success": number(0.2, 0.1, 0.3)}}, labels=("toy",))
    entry = report["comparisons"][0]
    entry["second"] = {"checkpoint": "toy", "policy": "sink1_window3"}
    (one,) = told(report)
    assert (one.first, one.second) == ("full history", "sink 1 + window 3")


def test_questions():
    report = report_of({})
    assert question(report, "full", 2) == "Which edits better over 2 turns: old or new?"
    alone = report_of({}, labels=("toy",))
    assert question(alone, "full", 1).startswith("How well does toy edit over 1 turn,")
    assert question(alone, None, 0) == "How well does toy edit?"


def test_checkpoints_are_compared_under_an_anchored_window():
    assert main_policy(["full", "window3", "sink1_window3"]) == "sink1_window3"
    assert main_policy(["full", "window3"]) == "full"
    assert main_policy([]) is None


def test_what_says_most_comes_first():
    names = [m.name for m in ranked(MEASURES, table_of(report_of({}), ["table"]))]
    assert names == ["success", "l1", "source_difference"]


@pytest.mark.parametrize(
    ("measures", "said"),
    [(MEASURES, "nothing that it is compared with"), ((NEUTRAL,), "--judge")],
)
def test_without_a_comparison_the_numbers_stand_there(measures, said):
    report = report_of({}, labels=("toy",))
    text = first_screen(report, front_of(report, measures), [], [])
    assert said in text and "toy, full history" in text and ">3</span>" in text


def test_memories_that_are_the_same_are_not_called_one_run():
    report = report_of({}, labels=("toy",))
    report["identical"] = {"table": {"full": "sink1_window3"}}
    text = first_screen(report, front_of(report, MEASURES), [], [])
    assert "hold the same frames" in text and "There is one run" not in text


def test_notes_stand_on_the_first_screen():
    report = report_of({}) | {"notes": ["mine is step 2 of <120>"]}
    text = first_screen(report, front_of(report, MEASURES), [], [])
    assert "mine is step 2 of &lt;120&gt;" in text
