"""Samples of stage 1: every edit once an epoch, kept frames between them."""

import collections

import numpy as np
import pytest

from anchoredit_jax.data.groups import Groups, Members
from anchoredit_jax.data.pairs import Pairs

TURNS = np.tile(np.arange(1, 15, dtype=np.uint8), 8)
SIZES = ((8, 8), (8, 12))


def make(nulls=0.1, seed=0, column=TURNS):
    """Sessions of two sizes in turn."""
    shapes = [(t, size) for size in SIZES for t in range(1, 15)]
    of_session = np.array(
        [shapes.index((t, SIZES[i % 2])) for i, t in enumerate(column.tolist())]
    )
    groups = Groups(tuple(shapes), of_session)
    return Pairs(groups, Members(of_session, len(shapes)), nulls, ("data", seed))


def epoch_of(pairs, epoch=0):
    return [
        (bucket, pairs.sample(epoch, bucket, number))
        for bucket, size in enumerate(pairs.sizes)
        for number in range(size)
    ]


@pytest.mark.parametrize("nulls", [0.0, 0.1, 0.6])
def test_every_edit_once_and_the_share_of_kept_frames(nulls):
    pairs = make(nulls)
    assert pairs.shapes == tuple((1, size) for size in SIZES)
    seen, kept = collections.Counter(), 0
    for bucket, sample in epoch_of(pairs):
        run, turns = sample.run, int(TURNS[sample.session])
        assert sample.session % 2 == bucket and run.targets == (True,)
        if run.turns == (None,):
            kept += 1
            assert run.frames[0] == run.frames[1] <= turns
        else:
            (edit,) = run.turns
            assert run.frames == (edit, edit + 1)
            seen[sample.session, edit] += 1
    wanted = {(s, e) for s, turns in enumerate(TURNS.tolist()) for e in range(turns)}
    assert set(seen) == wanted and set(seen.values()) == {1}
    assert abs(kept / (kept + len(wanted)) - nulls) < 0.005


def test_kept_frames_are_others_each_epoch_until_all_have_been():
    pairs = make(0.3)
    frames = collections.Counter()
    for epoch in range(3):
        new = [
            (sample.session, sample.run.frames[0])
            for _, sample in epoch_of(pairs, epoch)
            if sample.run.turns == (None,)
        ]
        frames.update(new)
        assert max(frames.values()) <= 1 + (epoch == 2)
    assert len({session for session, _ in frames}) > 0.9 * len(TURNS)
    other = {
        (s.session, s.run.frames[0])
        for _, s in epoch_of(make(0.3, seed=1))
        if s.run.turns == (None,)
    }
    assert other != {
        (s.session, s.run.frames[0])
        for _, s in epoch_of(pairs)
        if s.run.turns == (None,)
    }


def test_parts_of_a_session_are_told_apart():
    samples = [sample for _, sample in epoch_of(make(0.3))]
    assert len({(s.session, s.part) for s in samples}) == len(samples)


def test_a_few_edits_keep_to_the_share_over_seeds():
    counts = [sum(make(0.1, s, TURNS[:1]).sizes) for s in range(300)]
    assert set(counts) == {1, 2} and 0.06 < np.mean(counts) - 1 < 0.17
