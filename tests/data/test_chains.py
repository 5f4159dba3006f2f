"""Runs of successive turns: every turn once a target, wherever sessions are cut."""

import collections

import numpy as np
import pytest

from anchoredit_jax.data.chains import Chains, cuts, fewest_runs, ways_to_cut
from anchoredit_jax.data.groups import Groups, Members
from anchoredit_jax.data.plan import BatchPlan
from benchmarks.data import benchmark_plan

TURNS = np.repeat(np.arange(1, 15, dtype=np.uint8), 20)


def make(column=TURNS, turns=5, nulls=0.0, skip=0.5, seed=0, mix=False):
    """Chains of sessions of one size, those of the column."""
    known = np.unique(column).tolist()
    groups = Groups(tuple((t, (8, 8)) for t in known), np.searchsorted(known, column))
    members = Members(groups.of_session, len(known))
    return Chains(groups, members, turns, nulls, skip, ("data", seed), mix)


def epoch_of(chains, epoch=0):
    """(turns of its bucket, sample) of all."""
    return [
        (turns, chains.sample(epoch, bucket, number))
        for bucket, (turns, _) in enumerate(chains.shapes)
        for number in range(chains.sizes[bucket])
    ]


def targets_of(run):
    """Instructions that are targets, those of identity turns left out."""
    pairs = zip(run.turns, run.targets, strict=True)
    return [turn for turn, target in pairs if target and turn is not None]


@pytest.mark.parametrize("turns", [2, 3, 5, 20])
@pytest.mark.parametrize("nulls", [0.0, 0.2])
@pytest.mark.parametrize("mix", [False, True])
def test_every_turn_is_a_target_once_an_epoch(turns, nulls, mix):
    chains = make(TURNS[::5], turns=turns, nulls=nulls, mix=mix)
    for epoch in (0, 1):
        seen = collections.Counter()
        for length, sample in epoch_of(chains, epoch):
            assert len(sample.run.turns) == length or (mix and length == turns)
            assert len(sample.run.turns) <= turns
            seen.update((sample.session, turn) for turn in targets_of(sample.run))
        edits = TURNS[::5].tolist()
        wanted = {(s, t) for s, edit in enumerate(edits) for t in range(edit)}
        assert set(seen) == wanted and set(seen.values()) == {1}


def test_a_run_shows_the_source_then_successive_frames():
    for _, sample in epoch_of(make(nulls=0.2)):
        run = sample.run
        assert run.frames[0] == 0 and all(run.targets[1:])
        frames = np.array(run.frames)
        steps = np.diff(frames[1:])
        kept = np.array([turn is None for turn in run.turns[1:]], bool)
        assert (steps == np.where(kept, 0, 1)).all()
        for frame, turn in zip(run.frames[1:], run.turns, strict=True):
            assert turn in (None, frame - 1)
        if run.targets[0]:  # from the source on
            assert frames[1] == (0 if run.turns[0] is None else 1)
        else:
            assert len(run.turns) > 1


def test_parts_of_a_session_are_told_apart():
    for epoch in (0, 1):
        samples = [sample for _, sample in epoch_of(make(nulls=0.1), epoch)]
        assert len({(s.session, s.part) for s in samples}) == len(samples)


def test_runs_start_anywhere_in_a_long_session():
    """Over epochs the first target of a run is any turn that leaves a gap."""
    chains = make(np.uint8([14] * 30))
    starts = collections.Counter(
        targets_of(sample.run)[0] for e in range(4) for _, sample in epoch_of(chains, e)
    )
    assert set(starts) >= set(range(2, 14)) and 1 not in starts
    one = [
        {targets_of(s.run)[0] for _, s in epoch_of(chains, e) if s.session == 3}
        for e in range(8)
    ]
    assert len(set(map(frozenset, one))) > 1
    again = [sorted(map(repr, epoch_of(make(np.uint8([14] * 30)), 3)))]
    assert again == [sorted(map(repr, epoch_of(chains, 3)))]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_short_sessions_is_cut_all_the_same(share):
    column = np.repeat(np.uint8([2, 3, 4, 5]), 200)
    cut = collections.Counter(
        sample.session
        for _, sample in epoch_of(make(column, skip=share))
        if not sample.run.targets[0]
    )
    assert set(cut.values()) <= {1}
    found = [np.mean([s in cut for s in range(k, k + 200)]) for k in range(0, 800, 200)]
    assert found[0] == 0  # two turns leave no room for a gap
    np.testing.assert_allclose(found[1:], share, atol=0.006)
    if share == 0.3:
        other = make(column, skip=share, seed=1)
        samples = (sample for _, sample in epoch_of(other))
        assert {s.session for s in samples if not s.run.targets[0]} != set(cut)


def test_sessions_of_their_own_lengths_keep_to_the_share():
    """A group of one session is cut or not; of many such groups the share is."""
    cut = [
        len(epoch_of(make(np.uint8([5]), skip=0.3, seed=seed))) == 2
        for seed in range(300)
    ]
    assert 0.2 < np.mean(cut) < 0.4


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_identity_turns_are_their_share_and_change_places(share):
    chains = make(nulls=share)
    seen = []
    for epoch in (0, 1):
        nulls = [
            (sample.session, frame)
            for _, sample in epoch_of(chains, epoch)
            for frame, turn, target in zip(
                sample.run.frames[1:], sample.run.turns, sample.run.targets, strict=True
            )
            if turn is None and target
        ]
        total = len(nulls) + int(TURNS.sum())
        assert abs(len(nulls) / total - share) < 0.01
        seen.append(collections.Counter(nulls))
    kept = (seen[0] & seen[1]).total() / seen[0].total()
    assert kept < 0.6
    assert {frame for _, frame in seen[0]} >= set(range(10))


def test_buckets_do_not_change_by_epoch():
    chains = make(nulls=0.1)
    for epoch in range(2):
        found = collections.Counter(length for length, _ in epoch_of(chains, epoch))
        assert found == dict(
            zip((turns for turns, _ in chains.shapes), chains.sizes, strict=True)
        )


def test_ways_to_cut_are_whole_and_legal():
    for total in range(1, 40):
        for turns in range(2, 8):
            few = fewest_runs(total, turns)
            assert cuts(total, few, turns)
            for runs in (few, few + 1):
                for cut in cuts(total, runs, turns):
                    assert len(cut) == runs and sum(cut) == total + runs - 1
                    assert max(cut) <= turns and (runs == 1 or min(cut) >= 2)
            ways = ways_to_cut(total, turns, 0.1, 0.5)
            assert sum(weight for weight, _, _ in ways) == pytest.approx(1.0)
            assert all(sum(c) - len(c) + 1 - n == total for _, n, c in ways)
    assert cuts(14, 4, 5) == [(5, 5, 2, 5), (5, 5, 3, 4)]


@pytest.mark.slow
def test_a_hundred_million_sessions_take_a_second_and_a_megabyte():
    seconds, size = benchmark_plan()
    assert seconds < 5 and size < 8 * 2**20


def test_a_plan_of_many_sessions_is_ready_at_once():
    column = np.random.default_rng(0).integers(1, 15, 10**6).astype(np.uint8)
    chains = make(column, nulls=0.05)
    plan = BatchPlan(chains.sizes, 16)
    planned = plan[12345]
    samples = [
        chains.sample(planned.epoch, planned.bucket, number)
        for number in planned.samples.tolist()
    ]
    assert len({s.session for s in samples}) == 16
    assert {len(s.run.turns) for s in samples} == {chains.shapes[planned.bucket][0]}
