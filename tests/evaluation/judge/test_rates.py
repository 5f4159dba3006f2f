"""SR@k and CR@k."""

import numpy as np

from anchoredit_jax.evaluation.judge import TurnScores, success_rates
from anchoredit_jax.evaluation.summary import bootstrap_mean

NAN = np.nan


def scores(instruction, consistency):
    reasons = ("",) * len(instruction)
    arrays = (np.array(row, np.float64) for row in (instruction, consistency))
    return TurnScores(*arrays, reasons)


def test_a_turn_succeeds_above_six_in_both_and_only_after_successes():
    rates = success_rates(
        {
            "all": scores([7, 10, 7], [7, 7, 10]),
            "instruction fails at 2": scores([7, 6, 7], [7, 7, 7]),
            "consistency fails at 2": scores([7, 7, 7], [7, 6, 7]),
        }
    )
    np.testing.assert_array_equal(rates.success, [[1, 1, 1], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(rates.consistent, [[1, 1, 1], [1, 1, 1], [1, 0, 0]])
    assert rates.success.dtype == np.float64


def test_a_session_is_left_out_from_its_first_unjudged_turn():
    rates = success_rates({"a": scores([7, NAN, 7], [7, NAN, 7])})
    np.testing.assert_array_equal(rates.success, [[1, NAN, NAN]])
    np.testing.assert_array_equal(rates.consistent, [[1, NAN, NAN]])


def test_a_failed_session_is_left_out_too_lest_the_rate_sink():
    rates = success_rates({"a": scores([0, NAN], [7, NAN])})
    np.testing.assert_array_equal(rates.success, [[0, NAN]])


def test_shorter_sessions_are_left_out_beyond_their_end():
    rates = success_rates({"a": scores([7], [7]), "b": scores([7, 7], [0, 7])})
    np.testing.assert_array_equal(rates.success, [[1, NAN], [0, 0]])
    assert bootstrap_mean(rates.success[:, 1])["count"] == 1


def test_thresholds_are_options():
    rates = success_rates({"a": scores([5], [3])}, 4, 2)
    np.testing.assert_array_equal(rates.success, [[1]])
    rates = success_rates({"a": scores([5], [3])}, 5, 2)
    np.testing.assert_array_equal([rates.success, rates.consistent], [[[0]], [[1]]])


def test_no_sessions_have_no_rates():
    assert success_rates({}).success.shape == (0, 0)


# Instruction and consistency of five turns; a score above 6 passes.
FIVE_TURNS = {
    "all five": ([9, 9, 8, 8, 7], [9, 8, 8, 7, 7]),
    "ignored at 3": ([9, 9, 2, 9, 9], [9, 9, 9, 9, 9]),
    "another scene at 2": ([9, 9, 9, 9, 9], [9, 3, 9, 9, 9]),
    "nothing at all": ([0, 0, 0, 0, 0], [9, 9, 9, 9, 9]),
}


def test_five_turns_by_hand():
    """From its first failure on a session is lost, however well it goes on.

    turn                   1    2    3    4    5
    all five               +    +    +    +    +
    ignored at 3           +    +    -    -    -    (kept: all five)
    another scene at 2     +    -    -    -    -    (kept: turn 1 alone)
    nothing at all         -    -    -    -    -    (kept: all five)
    SR@k                  3/4  2/4  1/4  1/4  1/4
    CR@k                  4/4  3/4  3/4  3/4  3/4
    """
    rates = success_rates({name: scores(*own) for name, own in FIVE_TURNS.items()})
    np.testing.assert_array_equal(rates.success.mean(0), [0.75, 0.5, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(rates.consistent.mean(0), [1, 0.75, 0.75, 0.75, 0.75])
