"""Frame visibility, by literal tables (rows are queries)."""

import jax.numpy as jnp
import numpy as np
import pytest

from anchoredit_jax.memory import FrameVisibility, MemoryConfig

CAUSAL = """
1....
11...
111..
1111.
11111"""
WINDOW_3 = """
1....
11...
111..
.111.
..111"""
WINDOW_3_SINK_1 = """
1....
11...
111..
1.11.
1..11"""
TEACHER_FORCING_3 = """
1.....
.1....
..1...
1..1..
1...1.
11...1"""

HISTORY_AND_TARGETS_4_WINDOW_3_SINK_1 = """
1.......
11......
111.....
1.11....
1...1...
11...1..
1.1...1.
1..1...1"""


def table(text: str) -> np.ndarray:
    return np.array([[c == "1" for c in row] for row in text.split()])


@pytest.mark.parametrize(
    ("visibility", "expected"),
    [
        (FrameVisibility("causal"), CAUSAL),
        (FrameVisibility("causal", window=3), WINDOW_3),
        (FrameVisibility("causal", window=3, sink=1), WINDOW_3_SINK_1),
        (FrameVisibility("bidirectional"), "\n".join(["11111"] * 5)),
    ],
)
def test_tables(visibility, expected):
    np.testing.assert_array_equal(visibility.table(5), table(expected))


def test_teacher_forcing():
    visibility = FrameVisibility("teacher_forcing")
    np.testing.assert_array_equal(visibility.table(6), table(TEACHER_FORCING_3))


def test_history_and_targets():
    """Target i sees what a memory holds of the turns before, never its answer."""
    expected = table(HISTORY_AND_TARGETS_4_WINDOW_3_SINK_1)
    visibility = FrameVisibility("history_and_targets", window=3, sink=1)
    np.testing.assert_array_equal(visibility.table(8), expected)
    sampled = FrameVisibility(
        "history_and_targets",
        choices=((None, 0), (3, 1)),
        choice=jnp.array([1]),
    )
    np.testing.assert_array_equal(sampled.sample_table(8)[0], expected)


def test_per_sample_windows_follow_the_same_rule():
    choices = ((None, 0), (3, 0), (3, 1))
    visibility = FrameVisibility(choices=choices, choice=jnp.array([0, 2, 2, 1]))
    expected = [table(text) for text in (CAUSAL, WINDOW_3, WINDOW_3_SINK_1)]
    np.testing.assert_array_equal(visibility.tables(5), expected)
    expected = [expected[i] for i in (0, 2, 2, 1)]
    np.testing.assert_array_equal(visibility.sample_table(5), expected)


def test_a_table_shows_what_any_sample_sees():
    visibility = FrameVisibility(choices=((3, 0), (3, 1)), choice=jnp.array([0]))
    union = table(WINDOW_3) | table(WINDOW_3_SINK_1)
    np.testing.assert_array_equal(visibility.table(5), union)
    assert visibility.sample_table(3) is None  # so few frames are seen under each


def test_pairs_are_of_the_choice_with_most_or_of_all_in_the_mean():
    choices = FrameVisibility(choices=((None, 0), (None, 0), (2, 1)))
    assert choices.pairs(5) == FrameVisibility().pairs(5) == 15
    assert choices.pairs(5, "mean") == (15 + 15 + 9) / 3


def test_memory_and_sequence_agree_on_the_window():
    # sink 1 + 2 recent frames + itself
    assert MemoryConfig(sink=1, window=2).visibility() == FrameVisibility(
        "causal", 4, 1
    )


@pytest.mark.parametrize(
    "bad",
    [
        dict(mode="diagonal"),
        dict(window=1, sink=1),
        dict(choices=((None, 0), (1, 1))),
        dict(mode="teacher_forcing", choices=((3, 1),)),
    ],
)
def test_bad_rules_are_refused(bad):
    with pytest.raises(ValueError, match="mode must be|cannot hold|has no window"):
        FrameVisibility(**bad)
