"""Buckets of sessions, and the report on which of them never fill a batch."""

import numpy as np
import pytest

from anchoredit_jax.data.plan import BatchPlan
from anchoredit_jax.data.session_buckets import (
    BucketConfig,
    assign_buckets,
    describe_coverage,
)
from anchoredit_jax.errors import UserError

TURNS = np.uint8([1, 2, 3, 9, 0, 2, 2, 2, 2])
HEIGHT = np.uint16([64, 64, 32, 64, 64, 64, 65, 1000, 6400])
WIDTH = np.uint16([64, 64, 64, 64, 64, 128, 64, 1002, 6400])


def assigned(max_turns=4, size=64, **config):
    return assign_buckets(
        TURNS, HEIGHT, WIDTH, size, 16, max_turns, BucketConfig(**config)
    )


def shapes_of(buckets):
    left_out = len(buckets.shapes)
    return [
        None if bucket == left_out else buckets.shapes[bucket]
        for bucket in buckets.of_session.tolist()
    ]


def test_by_turns_and_aspect():
    shapes = shapes_of(assigned())
    assert shapes[0] == (1, (64, 64)) and shapes[1] == (2, (64, 64))
    assert shapes[2] == (3, (48, 80))  # of aspect 1 : 2, in whole steps
    assert shapes[3] == (4, (64, 64))  # nine turns: the first four
    assert shapes[4] is None  # none: left out
    # Any size of an image has its bucket, also one that no step divides.
    assert shapes[6] == shapes[7] == shapes[8] == (2, (64, 64))


def test_lengths_can_share_a_bucket():
    shapes = shapes_of(assigned(mix_turns=True))
    assert {shape[0] for shape in shapes if shape} == {4}
    assert shapes[4] is None


def test_the_references_rule_is_an_option():
    height, width = np.uint16([100]), np.uint16([145])
    found = {
        rule: assign_buckets(
            np.uint8([1]), height, width, 64, 16, 1, BucketConfig(rule=rule)
        ).shapes
        for rule in ("log_ratio", "ratio")
    }
    assert all(len(shapes) == 1 for shapes in found.values())
    with pytest.raises(UserError, match="data.buckets.rule must be one of"):
        BucketConfig(rule="nearest")


def test_many_chunks_are_one_table(monkeypatch):
    whole = assigned()
    monkeypatch.setattr("anchoredit_jax.data.session_buckets._CHUNK", 2)
    parts = assigned()
    assert parts.shapes == whole.shapes
    np.testing.assert_array_equal(parts.of_session, whole.of_session)


def test_the_report():
    """Three buckets of 1, 4 and 5 sessions, batches of 4."""
    turns = np.repeat(np.uint8([1, 2, 3]), [1, 4, 5])
    sides = np.full(10, 64, np.uint16)
    buckets = assign_buckets(turns, sides, sides, 64, 16, 4, BucketConfig())
    said = describe_coverage(buckets, BatchPlan(buckets.of_session, 3, 4), 4)
    lines = said.splitlines()
    assert lines[0].endswith("1 batches of 4, 3 places empty (never fills a batch)")
    assert lines[1] == "2 turns 64 x 64: 4 sessions, 1 batches of 4"
    assert lines[2].endswith("2 batches of 4, 3 places empty")
    assert lines[3] == "4 steps an epoch; 0 sessions left out"


def test_wrong_sizes_are_refused():
    with pytest.raises(UserError, match="multiples of 16, given 60 x 60"):
        assigned(size=60)
    with pytest.raises(UserError, match="no session has a turn"):
        assign_buckets(
            np.uint8([0]), np.uint16([8]), np.uint16([8]), 64, 16, 1, BucketConfig()
        )
