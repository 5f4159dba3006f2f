"""Sizes of prepared sessions, and what is said of them before training."""

import numpy as np
import pytest

from anchoredit_jax.data.buckets import nearest_bucket
from anchoredit_jax.data.plan import BatchPlan
from anchoredit_jax.data.session_buckets import (
    BucketConfig,
    bucket_table,
    check_tokens,
    default_step,
    describe_coverage,
)
from anchoredit_jax.errors import UserError


@pytest.mark.parametrize(
    ("size", "unit", "step"),
    [
        (1024, 16, 64), (512, 16, 32), (832, 16, 64), (768, 16, 48), (480, 16, 32),
        (64, 4, 4), (24, 4, 4), (32, 4, 4), (848, 16, 16), (16, 16, 16), (30, 16, 16),
    ],
)  # fmt: skip
def test_the_step_is_about_a_sixteenth_of_the_size(size, unit, step):
    assert default_step(size, unit) == step


def test_a_megapixel_has_49_sizes_and_they_keep_photographs():
    table = bucket_table(1024, 16)
    assert len(table) == 49
    for ratio in (1, 4 / 3, 3 / 2, 16 / 9, 2, 21 / 9):
        for height, width in ((1000, 1000 * ratio), (1000 * ratio, 1000)):
            bucket = nearest_bucket((round(height), round(width)), table)
            aspect, wanted = bucket[0] / bucket[1], height / width
            assert min(aspect, wanted) / max(aspect, wanted) > 0.95


def test_a_megapixel_divides_by_every_context():
    table = bucket_table(1024, 16)
    shapes = [(6, *size) for size in table]
    for context in (1, 2, 4, 8, 16):
        check_tokens(shapes, 16, context)


def test_tokens_that_the_mesh_cannot_share_are_refused():
    config = BucketConfig(step=16)
    shapes = [(6, *size) for size in bucket_table(1024, 16, config)]
    for context, uneven, step in ((4, 104, 32), (8, 136, 64)):
        with pytest.raises(UserError) as error:
            check_tokens(shapes, 16, context)
        said = str(error.value)
        assert f"mesh.context {context} does not divide ({uneven} sizes)" in said
        assert f"a multiple of {step}, or" in said
        wider = bucket_table(1024, 16, BucketConfig(step=step))
        check_tokens([(6, *size) for size in wider], 16, context)
    # The same frame in another shape of a batch is one size.
    with pytest.raises(UserError, match=r"36 x 32 pixels have 72 .* \(1 sizes\)"):
        check_tokens([(2, 36, 32), (3, 36, 32)], 4, 16)


def test_the_report():
    """Three buckets of 1, 4 and 5 samples, batches of 4."""
    shapes = [(1, (64, 64)), (2, (64, 64)), (2, (48, 80))]
    lines = describe_coverage(shapes, BatchPlan((1, 4, 5), 4), 4).splitlines()
    assert lines[0] == (
        "3 programs are compiled, one for each shape of a batch: 2 sizes, 2 numbers of "
        "turns"
    )
    assert lines[1].endswith("1 batches of 4, 3 places empty (never fills a batch)")
    assert lines[2] == "2 turns 64 x 64: 4 samples, 1 batches of 4"
    assert lines[3].endswith("2 batches of 4, 3 places empty")
    assert lines[4] == "4 steps an epoch"


def test_the_references_rule_is_an_option():
    table = np.array(bucket_table(64, 16, BucketConfig(rule="ratio")))
    assert (table % 16 == 0).all()
    with pytest.raises(UserError, match="buckets.rule must be one of"):
        BucketConfig(rule="nearest")
