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
        sample_window=jnp.array([3]),
        sample_sink=jnp.array([1]),
    )
    np.testing.assert_array_equal(sampled.sample_table(8)[0], expected)


def test_per_sample_windows_follow_the_same_rule():
    visibility = FrameVisibility(
        sample_window=jnp.array([0, 3, 3]), sample_sink=jnp.array([0, 0, 1])
    )
    expected = [table(text) for text in (CAUSAL, WINDOW_3, WINDOW_3_SINK_1)]
    np.testing.assert_array_equal(visibility.sample_table(5), expected)


def test_memory_and_sequence_agree_on_the_window():
    # sink 1 + 2 recent frames + itself
    assert MemoryConfig(sink=1, window=2).visibility() == FrameVisibility(
        "causal", 4, 1
    )


@pytest.mark.parametrize("bad", [dict(mode="diagonal"), dict(window=1, sink=1)])
def test_bad_rules_are_refused(bad):
    with pytest.raises(ValueError, match="mode must be|cannot hold"):
        FrameVisibility(**bad)
