"""Groups of sessions by size and turns, and their members by rank."""

import time

import numpy as np
import pytest

from anchoredit_jax.data import groups as module
from anchoredit_jax.data.buckets import BucketConfig
from anchoredit_jax.data.groups import Members, group_sessions
from anchoredit_jax.errors import UserError

TURNS = np.uint8([1, 2, 3, 9, 0, 2, 2, 2, 2, 255])
HEIGHT = np.uint16([64, 64, 32, 64, 64, 64, 65, 1000, 6400, 64])
WIDTH = np.uint16([64, 64, 64, 64, 64, 128, 64, 1002, 6400, 64])


def grouped(size=64, step=16, **config):
    return group_sessions(
        TURNS, HEIGHT, WIDTH, size, 16, BucketConfig(step=step, **config)
    )


def test_by_turns_and_aspect():
    found = grouped()
    shapes = [(*found.shapes, None)[group] for group in found.of_session.tolist()]
    assert shapes[0] == (1, (64, 64)) and shapes[1] == (2, (64, 64))
    assert shapes[2] == (3, (48, 80))  # of aspect 1 : 2, in whole steps
    assert shapes[3] == (9, (64, 64)) and shapes[9] == (255, (64, 64))
    assert shapes[4] is None  # none: left out
    # Any size of an image has its bucket, also one that no step divides.
    assert shapes[6] == shapes[7] == shapes[8] == (2, (64, 64))


def test_many_chunks_are_one_table(monkeypatch):
    whole = grouped()
    monkeypatch.setattr(module, "_CHUNK", 2)
    parts = grouped()
    assert parts.shapes == whole.shapes
    np.testing.assert_array_equal(parts.of_session, whole.of_session)


def test_wrong_sizes_are_refused():
    with pytest.raises(UserError, match="multiples of 16, given 60 x 60"):
        grouped(size=60)
    with pytest.raises(UserError, match="step must be a multiple of 16 pixels"):
        grouped(step=24)
    side = np.uint16([8])
    with pytest.raises(UserError, match="no session has a turn"):
        group_sessions(np.uint8([0]), side, side, 64, 16, BucketConfig())


@pytest.mark.parametrize("block", [16, 2**16])
def test_members_are_found_by_rank(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    column = np.random.default_rng(0).integers(0, 5, 1000).astype(np.uint8)
    members = Members(column, 4)  # 4 means left out
    for group in range(4):
        wanted = np.flatnonzero(column == group)
        assert members.sizes[group] == len(wanted)
        found = [members.find(group, rank) for rank in range(len(wanted))]
        assert found == wanted.tolist()


def test_counts_stay_small_where_groups_are_many(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 16)
    monkeypatch.setattr(module, "_COUNTS", 512)
    column = np.random.default_rng(0).integers(0, 50, 1000).astype(np.uint16)
    members = Members(column, 50)
    assert members._before.size <= 512 + 50
    for group in (0, 49):
        wanted = np.flatnonzero(column == group)
        assert members.find(group, len(wanted) - 1) == wanted[-1]


def test_a_million_sessions_are_counted_in_no_time():
    column = np.random.default_rng(0).integers(0, 600, 10**6).astype(np.uint16)
    start = time.perf_counter()
    members = Members(column, 600)
    assert time.perf_counter() - start < 1.0
    assert members.sizes.sum() == 10**6
