"""The batch plan: each session once an epoch, a function of the step alone."""

import numpy as np
import pytest

from anchoredit_jax.data.permutation import key_of, permute
from anchoredit_jax.data.plan import EMPTY, BatchPlan, coverage
from anchoredit_jax.errors import UserError


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 4097])
def test_a_permutation_is_one(size):
    moved = permute(np.arange(size), size, key=3)
    np.testing.assert_array_equal(np.sort(moved), np.arange(size))
    again = np.array([int(permute(i, size, key=3)) for i in range(min(size, 50))])
    np.testing.assert_array_equal(again, moved[:50])


def test_permutations_differ_by_key_and_look_random():
    size = 5000
    a, b = (permute(np.arange(size), size, key) for key in (1, 2))
    assert np.mean(a == b) < 0.01
    correlation = np.corrcoef(np.arange(size), a)[0, 1]
    assert abs(correlation) < 0.05
    assert np.mean(np.abs(np.diff(a))) > 0.3 * size  # a shuffle's neighbours: a third
    assert len({key_of(1, 2), key_of(12), key_of("1", "2 ")}) == 3


def test_numbers_outside_are_refused():
    with pytest.raises(ValueError, match=r"in \[0, 5\)"):
        permute([5], 5, 0)


def some_buckets(sessions=300, buckets=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, buckets, sessions).astype(np.uint8)


@pytest.mark.parametrize("batch", [1, 4, 7, 400])
def test_every_session_once_an_epoch_and_one_bucket_a_batch(batch):
    bucket_of = some_buckets()
    plan = BatchPlan(bucket_of, 4, batch, seed=5)
    for epoch in (0, 1):
        seen = []
        for step in range(plan.steps_per_epoch):
            planned = plan[epoch * plan.steps_per_epoch + step]
            assert planned.epoch == epoch and len(planned.sessions) == batch
            real = planned.sessions[planned.sessions != EMPTY]
            assert len(real) and (bucket_of[real] == planned.bucket).all()
            assert (planned.sessions[len(real) :] == EMPTY).all()
            seen += real.tolist()
        assert sorted(seen) == list(range(300))


def test_epochs_seeds_and_datasets_have_their_own_order():
    bucket_of = some_buckets()

    def order(start=0, **names):
        plan = BatchPlan(bucket_of, 4, 4, **names)
        steps = range(start * plan.steps_per_epoch, (start + 1) * plan.steps_per_epoch)
        return np.concatenate([plan[step].sessions for step in steps]).tolist()

    orders = [
        order(), order(1), order(seed=1), order(fingerprint="x"),
    ]  # fmt: skip
    assert len({tuple(o) for o in orders}) == 4
    assert order() == orders[0]


def test_buckets_are_mixed_over_the_epoch():
    plan = BatchPlan(np.repeat(np.uint8([0, 1]), 200), 2, 4)
    buckets = [plan[step].bucket for step in range(plan.steps_per_epoch)]
    assert 0.2 < np.mean(np.diff(buckets) != 0) < 0.8


def test_sessions_left_out_are_never_seen():
    bucket_of = some_buckets(buckets=3)  # 2 means left out, of two buckets
    plan = BatchPlan(bucket_of, 2, 4)
    steps = range(plan.steps_per_epoch)
    seen = np.concatenate([plan[step].sessions for step in steps])
    assert set(seen.tolist()) - {EMPTY} == set(np.flatnonzero(bucket_of < 2).tolist())


def test_coverage_names_what_never_fills_a_batch():
    bucket_of = np.repeat(np.uint8([0, 1, 2]), [1, 4, 5])
    plan = BatchPlan(bucket_of, 4, 4)
    report = coverage(plan, 4)
    assert [c.sessions for c in report] == [1, 4, 5, 0]
    assert [c.batches for c in report] == [1, 1, 2, 0]
    assert [c.empty for c in report] == [3, 0, 3, 0]
    assert [c.never_full for c in report] == [True, False, False, False]


def test_an_empty_plan_is_refused():
    with pytest.raises(UserError, match="no sessions"):
        BatchPlan(np.uint8([2, 2]), 2, 4)
    with pytest.raises(UserError, match="1 session or more"):
        BatchPlan(np.uint8([0]), 1, 0)


def test_larger_than_a_block_of_counts():
    rng = np.random.default_rng(1)
    bucket_of = rng.integers(0, 5, 200_000).astype(np.uint8)
    plan = BatchPlan(bucket_of, 5, 64)
    seen = np.concatenate([plan[step].sessions for step in range(200)])
    seen = seen[seen != EMPTY]
    assert len(set(seen.tolist())) == seen.size > 12_000
    for step in (0, 77, plan.steps_per_epoch - 1):
        planned = plan[step]
        real = planned.sessions[planned.sessions != EMPTY]
        assert (bucket_of[real] == planned.bucket).all()
