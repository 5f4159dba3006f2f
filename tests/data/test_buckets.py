"""Aspect-ratio buckets: tables, rules, ties, refusals."""

import itertools
import math

import pytest

from anchoredit_jax.data.buckets import make_buckets, nearest_bucket
from anchoredit_jax.data.images import crop_box
from anchoredit_jax.errors import UserError

SIZES = list(itertools.product((1, 7, 480, 640, 683, 1001, 1920), repeat=2))


def test_a_small_table():
    assert make_buckets((4, 4), 1) == (
        (8, 2), (7, 2), (6, 2), (5, 2), (5, 3), (4, 3), (4, 4),
        (3, 4), (3, 5), (2, 5), (2, 6), (2, 7), (2, 8),
    )  # fmt: skip


@pytest.mark.parametrize("size", [(32, 32), (24, 16), (20, 36)])
@pytest.mark.parametrize("max_ratio", [1.0, 2.0, 4.0])
def test_buckets_are_legal_and_the_table_symmetric(size, max_ratio):
    buckets = make_buckets(size, 4, max_ratio)
    assert buckets and len(set(buckets)) == len(buckets)
    for height, width in buckets:
        assert height % 4 == 0 and width % 4 == 0
        assert height * width <= size[0] * size[1]
        assert max(height, width) <= max_ratio * min(height, width)
        assert (width, height) in buckets


@pytest.mark.parametrize("size", [(1024, 1024), (1024, 768), (512, 512)])
def test_the_default_rule_turns_with_the_image(size):
    buckets = make_buckets(size, 64)
    for height, width in SIZES:
        if height != width:
            upright = nearest_bucket((height, width), buckets)
            assert nearest_bucket((width, height), buckets) == upright[::-1]


def test_the_ratio_rule_does_not_turn_with_the_image():
    buckets = make_buckets((1024, 1024), 64)
    assert nearest_bucket((768, 1024), buckets, "ratio") == (832, 1152)
    assert nearest_bucket((1024, 768), buckets, "ratio") == (1152, 896)


def test_the_default_rule_is_the_nearest_logarithm():
    buckets = make_buckets((512, 512), 16)
    for height, width in SIZES:
        chosen = nearest_bucket((height, width), buckets)
        distances = {
            bucket: abs(math.log(height / width) - math.log(bucket[0] / bucket[1]))
            for bucket in buckets
        }
        assert distances[chosen] <= min(distances.values()) + 1e-12


@pytest.mark.parametrize("rule", ["log_ratio", "ratio"])
def test_of_equal_aspects_the_nearest_area_wins(rule):
    buckets = ((4, 8), (8, 16), (16, 32))
    assert nearest_bucket((9, 18), buckets, rule) == (8, 16)
    assert nearest_bucket((1, 2), buckets, rule) == (4, 8)
    assert nearest_bucket((90, 180), buckets, rule) == (16, 32)


def test_ties_of_the_default_rule_turn_with_the_image():
    # 2:1 lies exactly between 1:1 and 4:1, and both buckets have the same area.
    tall, square, wide = (8, 2), (4, 4), (2, 8)
    for buckets in itertools.permutations((tall, square, wide)):
        assert nearest_bucket((200, 100), buckets) == square
        assert nearest_bucket((100, 200), buckets) == square


def test_a_full_tie_goes_to_the_first():
    assert nearest_bucket((5, 5), ((4, 2), (2, 4))) == (4, 2)
    assert nearest_bucket((5, 5), ((2, 4), (4, 2))) == (2, 4)


@pytest.mark.parametrize("size", [(3, 1), (1, 3), (480, 640), (7, 5), (100, 3000)])
def test_the_crop_is_centred_and_as_large_as_can_be(size):
    for target in make_buckets((512, 512), 64):
        left, top, right, bottom = crop_box(size, target)
        assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
        assert (right - left == size[1]) or (bottom - top == size[0])
        assert 0 <= (size[1] - right) - left <= 1
        assert 0 <= (size[0] - bottom) - top <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(size=(1000, 1024), step=64), "1000 x 1024; the nearest .* 1024 x 1024"),
        (dict(size=(0, 64), step=64), "multiples of 64, given 0 x 64.* 64 x 64"),
        (dict(size=(-64, 64), step=64), "multiples of 64, given -64 x 64"),
        (dict(size=(64, 64), step=0), "at least 1, given 0"),
        (dict(size=(64, 64), step=64, max_ratio=0.5), "at least 1, given 64 and 0.5"),
    ],
)
def test_wrong_tables_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_buckets(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(size=(0, 5)), "0 x 5 pixels has no aspect"),
        (dict(size=(5, -1)), "5 x -1 pixels"),
        (dict(size=(5, 5), buckets=()), "make_buckets"),
        (dict(size=(5, 5), rule="nearest"), "must be one of .*log_ratio.* 'nearest'"),
    ],
)
def test_wrong_images_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        nearest_bucket(**{"buckets": ((4, 4),), **options})


def test_the_staircase_is_walked_only_where_buckets_may_be():
    """Every step of it gives the same buckets; a large area costs no more for it."""

    def all_of(size, step, max_ratio):
        area = size[0] * size[1]
        height, width = area // step, step
        while height >= step:
            if max(height, width) <= max_ratio * min(height, width):
                yield height, width
            if height * (width + step) <= area:
                width += step
            else:
                height -= step

    for step in (1, 2, 3, 8):
        for tall in (1, 2, 7, 16, 31):
            for wide in (1, 5, 16):
                size = tall * step, wide * step
                for ratio in (1.0, 1.3, 2.0, 4.0, 50.0):
                    expected = tuple(all_of(size, step, ratio))
                    assert make_buckets(size, step, ratio) == expected
    # 80 million steps without that.
    assert len(make_buckets((8944, 8944), 16, 4.0)) > 500
