import numpy as np
import pytest

from anchoredit_jax.watching.scales import make_scale, short


@pytest.mark.parametrize(
    ("values", "low", "high", "log", "marks"),
    [
        ([1.0, 2.9], 1.0, 3.0, False, [1.0, 1.5, 2.0, 2.5, 3.0]),
        ([0.01, 1.0], 0.01, 1.0, True, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
        ([0.0, 100.0], 0.0, 100.0, False, [0.0, 50.0, 100.0]),
        ([-1.0, 1.0], -1.0, 1.0, False, [-1.0, -0.5, 0.0, 0.5, 1.0]),
    ],
)
def test_bounds_are_round_and_values_far_apart_are_logarithmic(
    values, low, high, log, marks
):
    scale = make_scale([np.array(values)])
    assert (scale.low, scale.high, scale.log) == (low, high, log)
    np.testing.assert_allclose(scale.marks(), marks, atol=1e-12)
    np.testing.assert_allclose(scale.height(np.array([low, high])), [0, 1])


def test_marks_are_round_as_they_are_shown():
    marks = make_scale([np.array([0.0, 100_000.0])], from_zero=True).marks(1 / 3600)
    np.testing.assert_allclose(np.array(marks) / 3600, [0, 10, 20])


@pytest.mark.parametrize(
    "values",
    [[0.0], [7.0], [-3.0, -3.0], [1e30], [-1e30, 1e30], [5e-324, 1e30], [0, 5e-324],
     [1.0, 1.0 + 2e-16], [1e20, 1e20 * (1 + 3e-16)]],
)  # fmt: skip
@pytest.mark.parametrize("from_zero", [False, True])
def test_any_numbers_have_a_scale(values, from_zero):
    values = np.array(values)
    scale = make_scale([values], from_zero)
    heights = scale.height(values)
    assert np.isfinite(heights).all() and (heights >= 0).all() and (heights <= 1).all()
    assert len(scale.marks()) < 40


def test_numbers_are_short():
    told = {0: "0", 0.01234: "0.0123", 12.34: "12.3", 1234: "1,234", 1.25e5: "125k",
            7.48e6: "7.48M", 3e-5: "3e-05", -2.5e13: "-2.5e+13"}  # fmt: skip
    assert {value: short(value) for value in told} == told
