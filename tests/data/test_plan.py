"""The batch plan: each sample once an epoch, a function of the step alone."""

import numpy as np
import pytest

from anchoredit_jax.data.keys import key_of
from anchoredit_jax.data.permutation import permute
from anchoredit_jax.data.plan import EMPTY, BatchPlan, coverage
from anchoredit_jax.errors import UserError


def permuted(size, key):
    return np.array([permute(number, size, key) for number in range(size)])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 4097])
def test_a_permutation_is_one(size):
    moved = permuted(size, key=3)
    np.testing.assert_array_equal(np.sort(moved), np.arange(size))
    again = np.array([permute(i, size, key=3) for i in range(min(size, 50))])
    np.testing.assert_array_equal(again, moved[:50])


def test_permutations_differ_by_key_and_look_random():
    size = 5000
    a, b = (permuted(size, key) for key in (1, 2))
    assert np.mean(a == b) < 0.01
    correlation = np.corrcoef(np.arange(size), a)[0, 1]
    assert abs(correlation) < 0.05
    assert np.mean(np.abs(np.diff(a))) > 0.3 * size  # a shuffle's neighbours: a third
    assert len({key_of(1, 2), key_of(12), key_of("1", "2 ")}) == 3


def test_numbers_outside_are_refused():
    with pytest.raises(ValueError, match=r"in \[0, 5\)"):
        permute(5, 5, 0)


SIZES = (120, 1, 179)


@pytest.mark.parametrize("batch", [1, 4, 7, 400])
def test_every_sample_once_an_epoch_and_one_bucket_a_batch(batch):
    plan = BatchPlan(SIZES, batch, seed=5)
    for epoch in (0, 1):
        seen = []
        for step in range(plan.steps_per_epoch):
            planned = plan[epoch * plan.steps_per_epoch + step]
            assert planned.epoch == epoch and len(planned.samples) == batch
            real = planned.samples[planned.samples != EMPTY]
            assert len(real) and (planned.samples[len(real) :] == EMPTY).all()
            seen += [(planned.bucket, number) for number in real.tolist()]
        assert sorted(seen) == [(b, n) for b, s in enumerate(SIZES) for n in range(s)]


def test_epochs_seeds_and_datasets_have_their_own_order():
    def order(start=0, **names):
        plan = BatchPlan(SIZES, 4, **names)
        steps = range(start * plan.steps_per_epoch, (start + 1) * plan.steps_per_epoch)
        return np.concatenate([plan[step].samples for step in steps]).tolist()

    orders = [
        order(), order(1), order(seed=1), order(fingerprint="x"),
    ]  # fmt: skip
    assert len({tuple(o) for o in orders}) == 4
    assert order() == orders[0]


def test_buckets_are_mixed_over_the_epoch():
    plan = BatchPlan((200, 200), 4)
    buckets = [plan[step].bucket for step in range(plan.steps_per_epoch)]
    assert 0.2 < np.mean(np.diff(buckets) != 0) < 0.8


def test_coverage_names_what_never_fills_a_batch():
    report = coverage(BatchPlan((1, 4, 5, 0), 4), 4)
    assert [c.samples for c in report] == [1, 4, 5, 0]
    assert [c.batches for c in report] == [1, 1, 2, 0]
    assert [c.empty for c in report] == [3, 0, 3, 0]
    assert [c.never_full for c in report] == [True, False, False, False]


def test_an_empty_plan_is_refused():
    with pytest.raises(UserError, match="no sessions"):
        BatchPlan((0, 0), 4)
    with pytest.raises(UserError, match="1 sample or more"):
        BatchPlan((1,), 0)
