"""The recorded bucket tables, choices and crop boxes."""

import json

import pytest

from anchoredit_jax.data.buckets import make_buckets, nearest_bucket
from anchoredit_jax.data.images import crop_box

from .conftest import GOLDEN

SETTINGS = (
    "1024_step64", "512_step16", "256_step16", "512_step32", "1024x768_step64",
)  # fmt: skip
CROPS = "crop_boxes_1024_step64"
# Where the default rule takes another bucket than the reference's: the first is a tie
# of |h/w - h'/w'| that is none of the logarithms, the others a wide image.
DIFFERENT = {
    "1024_step64": {
        (768, 1024): ((832, 1152), (896, 1152)),
        (480, 640): ((832, 1152), (896, 1152)),
    },
    "1024x768_step64": {
        (683, 1024): ((704, 1088), (704, 1024)),
        (1820, 2040): ((768, 896), (832, 896)),
    },
}


@pytest.fixture(scope="module")
def recorded():
    return json.loads((GOLDEN / "buckets.json").read_text())


def test_no_setting_is_left_out(recorded):
    assert set(recorded) == {*SETTINGS, CROPS}


@pytest.mark.parametrize("name", SETTINGS)
def test_table_and_choices(recorded, name):
    case = recorded[name]
    buckets = make_buckets(tuple(case["image_size"]), case["step"], case["max_ratio"])
    assert buckets == tuple(map(tuple, case["buckets"]))
    assert len(case["picks"]) == 50
    different = {}
    for height, width, *expected in case["picks"]:
        size, expected = (height, width), tuple(expected)
        assert nearest_bucket(size, buckets, "ratio") == expected, size
        ours = nearest_bucket(size, buckets)
        if ours != expected:
            different[size] = (expected, ours)
    print(f"{name}: {len(buckets)} buckets, the default rule differs at {different}")
    assert different == DIFFERENT.get(name, {})


def test_crop_boxes(recorded):
    rows = recorded[CROPS]["rows"]
    assert len(rows) == 50
    for height, width, *rest in rows:
        target, box = tuple(rest[:2]), tuple(rest[2:])
        assert crop_box((height, width), target) == box, (height, width)
